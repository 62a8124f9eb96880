"""Every command that `unfreeze next` prints can be typed: after each kind of method, for files and for Python data."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small import fit_images, fit_text, sentences

import unfreeze
from unfreeze import api
from unfreeze.advice import ADVICE, Advice
from unfreeze.advice import _advice as advising
from unfreeze.cli import main
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import with_settings
from unfreeze.run import Run

PAGE = Path(__file__).parents[2] / "docs" / "report.md"
METHODS = ("lora:2", "adapter", "last:2", "head", "prefix")
RISING = [(1.0, 0.5), (0.9, 0.6), (0.85, 0.7), (0.8, 0.75)]
FALLING = [(1.0, 0.7), (0.8, 0.75), (0.7, 0.6), (0.65, 0.5), (0.6, 0.4), (0.55, 0.3)]


def figure(value: float, reach: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - reach, "high": value + reach}


class Told:
    """A run with a course of its own, and figures that speak for every rule."""

    def __init__(self, run: Run, course: list[tuple[float, float]], **more: Any) -> None:
        history = [
            {"epoch": number, "loss": loss, "step": number, "validation": {"accuracy": value, "nll": loss}}
            for number, (loss, value) in enumerate(course, 1)
        ]
        best = max(range(len(course)), key=lambda number: (course[number][1], number)) + 1
        self.recipe, self.path = run.recipe, run.path
        counts = dict(zip(run.manifest.labels, (90, 10, 10), strict=False))
        self.manifest = SimpleNamespace(
            counts={"train": counts}, modality=run.manifest.modality, target_scale=1.0, labels=run.manifest.labels
        )
        shifted = {
            "name": "other",
            "metrics": {"accuracy": figure(0.5), "rmse": figure(2.0)},
            "difference": {"accuracy": figure(-0.25), "rmse": figure(1.0)},
        }
        self.evidence = {
            "shift": {"metric": "accuracy", "higher_is_better": True, "sets": [shifted]},
            "labels": {"parts": {"train": {"share": 0.05}}},
            "probe": {
                "rows": {"validation": 1000},
                "curve": [{"rows": 50, "score": 0.5}, {"rows": 100, "score": 0.7}],
                "gain": {"unit": "accuracy", "value": 0.2, "low": 0.1, "high": 0.3, "p": 0.001},
            },
        }
        self.result: dict[str, Any] = {
            **run.result, "history": history, "best_epoch": best, "metric": "accuracy", "higher_is_better": True,
            "validation": {"accuracy": figure(course[best - 1][1]), "balanced_accuracy": figure(0.4)},
        } | more  # fmt: skip


def advice_of(run: Run) -> list[Advice]:
    """Everything that any rule would say after a run with this recipe."""
    (run.path / "evidence").mkdir(exist_ok=True)
    (run.path / "evidence" / "labels.csv").touch()
    found = [
        (name, rule(Told(run, course)))  # type: ignore[arg-type]
        for name, rule in ADVICE.items()
        for course in (RISING, FALLING)
    ]
    (run.path / "evidence" / "labels.csv").unlink()
    return [replace(advice, name=name) for name, advice in found if advice is not None]


@pytest.fixture(scope="module")
def run_of(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    folder = tmp_path_factory.mktemp("a folder with 'quotes'")
    made: dict[str, Run] = {}

    def run(method: str, kind: Callable[..., Run] = fit_text) -> Run:
        name = f"{kind.__name__} {method}"
        if name not in made:
            made[name] = kind(home, folder / name, method=method, epochs=1)
        return made[name]

    return run


def typed(command: str, monkeypatch: pytest.MonkeyPatch, kept: list[Recipe]) -> int:
    """Type a command; what would be trained is planned, which says whatever is wrong with it."""

    def planned(recipe: Recipe, **options: Any) -> Any:
        api.plan_recipe(recipe)
        kept.append(recipe)
        return SimpleNamespace(path=Path("planned"), result={})

    monkeypatch.setattr(api, "fit_recipe", planned)
    words = shlex.split(command)
    assert words[:2] == ["unfreeze", "fit"]
    return main([*words[1:], "--quiet", "--json"])


@pytest.mark.parametrize("method", METHODS)
def test_every_command_can_be_typed_after(
    method: str, run_of: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(method)
    found = advice_of(run)
    names = {advice.name for advice in found}
    assert names >= {"imbalance", "more-data", "more-epochs", "overfitting", "relabel", "underfitting"}
    assert ("shift" in names) == (method != "head")
    for advice in found:
        command, kept = advice.command(run), []
        if command is None:
            assert advice.name == "more-data"
            continue
        if advice.name == "relabel":
            setting = shlex.split(command)[4]
            assert with_settings(run.recipe, [setting]).data.drop_suspects == f"{run.path}/evidence/labels.csv"
            continue
        assert typed(command, monkeypatch, kept) == 0, command
        assert kept[0].output.folder == f"{run.path}-{advice.name}"
        if "method.name" in advice.changes:
            assert kept[0].method.options == {}
            assert (kept[0].training.lr, kept[0].training.head_lr) == (None, None)
        assert 0 < advice.gain <= 1


def test_images_are_augmented_again_when_layers_thaw(run_of: Callable[..., Run]) -> None:
    run = run_of("head", fit_images)
    assert run.recipe.training.augment == []
    changes = advising.other_method(run.recipe, "image", "last:2")
    made = api.plan_recipe(api.with_values(run.recipe, changes))
    assert made.recipe.training.augment == ["crop:0.7"]
    assert made.recipe.training.lr != run.recipe.training.lr, "the family's, as for any other run"


def test_one_is_really_run(run_of: Callable[..., Run], tmp_path: Path) -> None:
    run = run_of("lora:2")
    advice = next(advice for advice in advice_of(run) if advice.name == "underfitting")
    command = shlex.split(advice.command(run) or "")
    command[command.index("--output") + 1] = str(tmp_path / "next")
    assert main([*command[1:], "--quiet"]) == 0
    assert unfreeze.load(tmp_path / "next").result["method"] == "full"


def test_data_in_python_are_passed_again(home: Path, tmp_path: Path) -> None:
    data = [(text, label) for text, label in sentences(60)]
    run = fit_text(home, tmp_path / "run", data=data, method="lora:2", epochs=1, target=None, split=None)
    called = {advice.name: advice.command(run) or "" for advice in advice_of(run)}
    assert called["underfitting"].startswith("unfreeze.fit(data, recipe=")
    again = eval(called["underfitting"], {"unfreeze": unfreeze, "data": data})
    assert again.path == tmp_path / "run-underfitting"
    assert again.result["method"] == "full"
    for command in called.values():
        if command:
            eval(command.replace("unfreeze.fit", "plan").split(", output=")[0] + ")", {
                "plan": unfreeze.plan if "drop_suspects" not in command else lambda *args, **options: None,
                "unfreeze": unfreeze, "data": data,
            })  # fmt: skip


def test_a_folder_that_is_taken_is_not_named(tmp_path: Path) -> None:
    run = SimpleNamespace(path=tmp_path / "run", recipe=Recipe())
    advice = Advice("do", "since", 0.1, {"seed": 1}, "one")
    assert advice.command(run).endswith(f"output={str(tmp_path / 'run-one')!r})")  # type: ignore[arg-type, union-attr]
    (tmp_path / "run-one").mkdir()
    assert advice.command(run).endswith(f"output={str(tmp_path / 'run-one-2')!r})")  # type: ignore[arg-type, union-attr]


# ------------------------------------------------------------------------------------------- what speaks for it


@pytest.fixture
def run(run_of: Callable[..., Run]) -> Run:
    return run_of("last:2")


def rule(name: str) -> Callable[[Any], Advice | None]:
    return ADVICE.get(name)


def test_more_data_needs_a_rise_beyond_chance(run: Run) -> None:
    told = Told(run, RISING)
    assert rule("more-data")(told) is not None
    told.evidence["probe"]["gain"]["p"] = 0.2
    assert rule("more-data")(told) is None, "chance alone gives that"
    told.evidence["probe"]["gain"]["p"] = 0.001
    told.evidence["probe"] |= {"curve": [{"rows": 1, "score": 0.7}] * 2}
    assert rule("more-data")(told) is None


def test_imbalance_needs_a_difference_beyond_its_interval(run: Run) -> None:
    told = Told(run, RISING)
    assert rule("imbalance")(told) is not None
    told.result["validation"] = {"accuracy": figure(0.75, 0.2), "balanced_accuracy": figure(0.6, 0.2)}
    assert rule("imbalance")(told) is None
    told.result["validation"] = {"accuracy": {"value": 0.75, "low": None, "high": None}, "balanced_accuracy": None}
    assert rule("imbalance")(told) is None, "without intervals nothing is sure"


@pytest.mark.parametrize(
    "setting",
    [
        {"training.label_smoothing": 0.1},
        {"training.loss": "focal"},
        {"training.class_weights": "balanced"},
        {"training.augment": ["mixup:0.2"]},
        {"training.sampling": "group-balanced"},
    ],
)
def test_a_loss_that_is_another_quantity_is_not_compared(run: Run, setting: dict[str, Any]) -> None:
    told = Told(run, RISING)
    assert rule("underfitting")(told) is not None
    told.recipe = api.with_values(run.recipe, setting)
    assert rule("underfitting")(told) is None


def test_the_gain_is_what_was_measured(run: Run) -> None:
    told = Told(run, FALLING)
    lost = rule("overfitting")(told)
    assert lost is not None
    assert lost.gain == 1.0, "0.45 were lost, and 0.25 are left"
    milder = rule("overfitting")(Told(run, [*FALLING[:-3], (0.6, 0.68), (0.5, 0.66)]))
    assert milder is not None
    assert milder.gain == pytest.approx(0.09 / 0.25)
    shift = rule("shift")(told)
    assert shift is not None
    assert shift.gain == pytest.approx(0.25 / 0.5)
    told.evidence["shift"]["sets"][0]["difference"]["accuracy"] = figure(-0.1)
    assert rule("shift")(told).gain == pytest.approx(0.1 / 0.5)  # type: ignore[union-attr]


@pytest.mark.parametrize(("method", "said"), [("wise-ft:0.5", False), ("lp-ft", False), ("last:2", True)])
def test_what_keeps_the_features_already_is_not_told_to(run: Run, method: str, said: bool) -> None:
    told = Told(run, RISING)
    told.recipe = api.with_values(run.recipe, {"method.name": method, "method.options": {}})
    assert (rule("shift")(told) is not None) == said


def test_numbers_get_advice_too(run: Run) -> None:
    told = Told(run, RISING, task="regression", metric="mae", higher_is_better=False)
    for entry in told.result["history"]:
        entry["validation"] = {"mae": entry["loss"]}
    told.recipe = api.with_values(run.recipe, {"training.loss": "mse"})
    assert "the mean" in rule("underfitting")(told).why  # type: ignore[union-attr]
    told.recipe = api.with_values(run.recipe, {"training.loss": "mae"})
    assert rule("underfitting")(told) is None
    shift = rule("shift")(told)
    assert shift is not None
    assert "rmse is 1 higher" in shift.why
    assert shift.gain == pytest.approx(0.5)
    told.manifest.target_scale = 100.0
    assert rule("shift")(told) is None, "a hundredth of a standard deviation"


def test_the_pages_example_can_be_typed() -> None:
    blocks = re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    commands = [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith("unfreeze ")]
    assert commands
    for command in commands:
        settings = [word for before, word in pairwise(shlex.split(command)) if before == "--set"]
        assert settings
        with_settings(Recipe(), settings)
