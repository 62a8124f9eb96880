"""The linear probe, the cost, the card and the advice of small whole runs."""

from __future__ import annotations

import inspect
import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from small import BASE, fit_text

import unfreeze
from unfreeze.advice import ADVICE, advise
from unfreeze.advice.more_epochs import rule as more_epochs
from unfreeze.advice.overfitting import rule as overfitting
from unfreeze.errors import Interrupted, UserError
from unfreeze.evidence import EVIDENCE
from unfreeze.evidence._context import Context
from unfreeze.evidence.cost import WORLD, carbon_intensity, components_of, epochs_done
from unfreeze.progress import Silent
from unfreeze.report.card import card
from unfreeze.run import Run

TELL = {"evaluation__report": True, "evaluation__evidence_share": 1000.0}


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("told")
    return fit_text(home, folder / "run", method="head", epochs=3, **TELL)


def test_the_probe_is_scored_on_the_runs_own_rows(run: Run) -> None:
    probe = run.evidence["probe"]
    assert probe["split"] == "test"
    assert probe["rows"] == probe["of"] == run.result["rows"]
    figure, own = probe["figures"]["accuracy"], run.result["test"]["accuracy"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert probe["run"]["accuracy"]["value"] == pytest.approx(own["value"])
    assert probe["difference"]["value"] == pytest.approx(own["value"] - figure["value"])
    assert [point["rows"] for point in probe["curve"]] == [22, 44]


def test_nothing_failed_and_nothing_was_left_out(run: Run) -> None:
    collected = json.loads((run.path / "evidence" / "collected.json").read_text())
    assert collected["missing"] == {}


def test_cost_counts_what_replay_saved(run: Run) -> None:
    cost = run.evidence["cost"]
    rows = run.result["rows"]["train"] + run.result["rows"]["validation"]
    assert cost["energy_wh"] > 0
    assert cost["replay"]["flops_saved"] == pytest.approx(2 * cost["replay"]["flops_done"]), "3 epochs, computed once"
    assert cost["replay"]["flops_done"] > rows
    whole = cost["from_scratch"]
    assert whole["epochs"] == 3
    # Three passes' worth for each training row, one for each of validation: of more than the frozen layers.
    train, held = run.result["rows"]["train"], run.result["rows"]["validation"]
    a_row = whole["flops"] / (3 * (3 * train + held))
    assert a_row >= cost["replay"]["flops_done"] / (train + held)
    for saved in (whole, cost["replay"]):
        assert saved["seconds"] > 0
        assert saved["co2_g"] == pytest.approx(cost["co2_g"] * saved["seconds"] / cost["seconds"])


def test_there_is_one_time(run: Run) -> None:
    cost = run.evidence["cost"]
    assert cost["seconds"] == run.result["seconds"] == run.result["cost"]["seconds"]
    assert 0 < cost["learning_seconds"] < run.result["train_seconds"] < cost["seconds"]


def test_replay_counts_the_epochs_that_were_done() -> None:
    from unfreeze.methods import Phase

    phases = [Phase(name=name, learn=("head",), epochs=4) for name in ("a", "b", "b")]
    history = [
        {"phase": "a", "step": 10}, {"phase": "a", "step": 20},
        {"phase": "b", "step": 30}, {"phase": "b", "step": 35}, {"phase": "b", "step": 45},
    ]  # fmt: skip
    assert epochs_done(phases, history, [40, 15, 40]) == [(20, 2), (15, 2), (10, 1)]
    assert epochs_done(phases[:2], history[:2], [40, 40]) == [(20, 2), (0, 0)]


def read_as(processor: float | None, gpu: float | None) -> dict[str, Any]:
    return {"processor_seconds": 10.0, "joules": {"processor": processor, "gpu": gpu}}


@pytest.mark.parametrize(
    ("processor", "gpu", "device", "expected"),
    [
        (5.0, 7.0, "cuda", [("processor", 5.0, "read"), ("GPU", 7.0, "read")]),
        (None, 7.0, "cuda", [("processor", 40.0, "estimated"), ("GPU", 7.0, "read")]),
        (5.0, None, "cuda", [("processor", 5.0, "read"), ("GPU", None, "not counted")]),
        (None, None, "mps", [("processor", 40.0, "estimated"), ("GPU", None, "not counted")]),
        (None, 7.0, "cpu", [("processor", 40.0, "estimated")]),
    ],
)
def test_energy_is_told_by_component(
    processor: float | None, gpu: float | None, device: str, expected: list[tuple[str, float | None, str]]
) -> None:
    found = components_of(read_as(processor, gpu), device)
    assert [(part["name"], part["joules"], part["how"]) for part in found] == expected


def test_what_is_not_counted_is_said_on_the_page(run: Run) -> None:
    from types import SimpleNamespace

    from unfreeze.report.sections.cost import SECTION

    components = components_of(read_as(None, None), "cuda")
    told = SimpleNamespace(evidence={"cost": {**run.evidence["cost"], "components": components}})
    page = str(SECTION.render(told))  # type: ignore[arg-type]
    assert "far too low" in page
    assert "not counted" in page
    assert "far too low" not in str(SECTION.render(run))
    assert "for as many epochs (3)" in str(SECTION.render(run))


class StopAt(Silent):
    """Ctrl-C once a stage is reached, or an update."""

    def __init__(self, stage: str = "", update: int = 0) -> None:
        self.at, self.left, self.notes = stage, update, []

    def stage(self, message: str) -> None:
        if self.at and message.startswith(self.at):
            self.at = ""
            raise KeyboardInterrupt

    def step(self, step: int, loss: float, lr: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_resumed_run_costs_what_all_its_sessions_took(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit_text(home, tmp_path / "run", method="head", epochs=3, progress=StopAt(update=9))
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["cost"]["learning_seconds"] > 0
    status["cost"]["seconds"] += 1000.0
    status["cost"]["learning_seconds"] += 500.0
    (tmp_path / "run" / "status.json").write_text(json.dumps(status))
    result = unfreeze.resume(tmp_path / "run").result
    assert result["seconds"] == result["cost"]["seconds"] > 1000.0
    assert 1000.0 > result["cost"]["learning_seconds"] > 500.0


def test_a_killed_session_is_counted_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from small import KillAt, Killed

    from unfreeze.train import metering

    monkeypatch.setattr(metering, "EVERY", 0.0)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "run", method="head", epochs=3, progress=KillAt(9))
    assert unfreeze.load(tmp_path / "run").cost["seconds"] > 0  # type: ignore[index]


def test_a_report_that_was_interrupted_is_made_on_resuming(home: Path, tmp_path: Path) -> None:
    progress = StopAt("writing the report")
    made = fit_text(home, tmp_path / "a run", method="head", epochs=1, progress=progress, **TELL)
    assert made.status == "finished"
    assert not (made.path / "report.html").exists()
    assert any(f"unfreeze report '{made.path}' --again" in note for note in progress.notes)
    again = unfreeze.resume(made.path)
    assert (again.path / "report.html").exists()
    assert (again.path / "MODEL_CARD.md").exists()
    assert again.evidence["probe"]["figures"]


@pytest.mark.parametrize("stop", [False, True])
def test_a_comparison_that_fails_costs_no_run(
    stop: bool, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it writes no report where none was asked for."""
    from unfreeze import api

    whole = api.fit_recipe

    def once(recipe: Any, **options: Any) -> Any:
        if recipe.method.name == "scratch":
            raise KeyboardInterrupt if stop else RuntimeError("no room")
        return whole(recipe, **options)

    progress = StopAt()
    with monkeypatch.context() as patch:
        patch.setattr(api, "fit_recipe", once)
        made = fit_text(home, tmp_path / "run", method="head", epochs=1, evaluation__scratch=True, progress=progress)
    assert made.status == "finished"
    assert any("from scratch" in note for note in progress.notes)
    assert "scratch" not in made.evidence
    again = unfreeze.resume(made.path)
    assert again.evidence["scratch"]["epochs"] == 1
    assert not (again.path / "report.html").exists(), "evaluation.report is false"
    assert not (again.path / "evidence" / "scratch").exists()


def test_a_sweep_is_compared_too(home: Path, tmp_path: Path) -> None:
    options = {key: value for key, value in BASE.items() if key not in ("lr", "head_lr", "output")}
    swept = unfreeze.sweep(
        home / "table.csv", str(home / "bert"), target="label", split="split", rates=[1e-2], decays=[0.0], seeds=2,
        epochs=2, output=tmp_path / "run", evaluation__scratch=True, **options,
    )  # fmt: skip
    assert swept.evidence["scratch"]["epochs"] <= 2
    assert swept.result["cost"]["learning_seconds"] > 0


def test_a_countrys_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNFREEZE_COUNTRY", raising=False)
    assert carbon_intensity()[0] == WORLD
    monkeypatch.setenv("UNFREEZE_COUNTRY", "swe")
    grams, mix = carbon_intensity()
    assert grams < WORLD / 2
    assert mix.startswith("Sweden")
    monkeypatch.setenv("UNFREEZE_COUNTRY", "Atlantis")
    with pytest.raises(UserError, match=r"three letters, such as DEU\. Got 'ATLANTIS'"):
        carbon_intensity()


def test_the_card_says_what_is_known_and_marks_the_rest(run: Run) -> None:
    from huggingface_hub import ModelCard

    text = (run.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert text == card(run)
    made = ModelCard(text)
    accuracy = next(result for result in made.data.eval_results if result.metric_type == "accuracy")
    assert accuracy.metric_value == run.result["test"]["accuracy"]["value"]
    assert made.data.pipeline_tag == "text-classification"
    assert text.count("To be written by a person") == 4


def test_labels_cannot_write_markup_into_the_card(home: Path, tmp_path: Path) -> None:
    labels = {"a": "<b>[x](y)</b>", "b": "| z |"}
    rows = [(f"{word} number {i}", label) for i in range(12) for word, label in labels.items()]
    options = {**BASE, "evaluation__report": True, "duplicates": "keep"}
    made = unfreeze.fit(rows, str(home / "bert"), epochs=1, output=tmp_path / "run", **options)
    text = (made.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "<b>" not in text.replace("\\<b\\>", "")
    assert "[x](y)" not in text


def test_the_report_is_made_again_with_evidence_collected_anew(run: Run) -> None:
    before, replayed = dict(run.evidence["probe"]["figures"]["accuracy"]), run.evidence["cost"]["replay"]
    (run.path / "evidence" / "probe.json").unlink()
    path = unfreeze.write_report(run.path, again=True)
    assert path == run.path / "report.html"
    assert unfreeze.load(run.path).evidence["probe"]["figures"]["accuracy"] == before
    again = unfreeze.load(run.path).evidence["cost"]["replay"]
    assert (again["flops_saved"], again["flops_done"]) == (replayed["flops_saved"], replayed["flops_done"])


def test_training_from_scratch_is_told_beside(home: Path, tmp_path: Path) -> None:
    made = fit_text(home, tmp_path / "run", method="head", epochs=1, evaluation__scratch=True, evaluation__report=True)
    scratch = made.evidence["scratch"]
    assert scratch["split"] == "test"
    assert scratch["figures"]["accuracy"].keys() == {"value", "low", "high"}
    assert not (made.path / "evidence" / "scratch").exists()
    assert scratch["learning_seconds"] > 0
    assert "random weights, for as many epochs (which took it" in (made.path / "report.html").read_text(
        encoding="utf-8"
    )


class Told:
    """As much of a run as the rules about its course read."""

    def __init__(self, run: Run, course: list[tuple[float, float]]) -> None:
        history = [
            {"epoch": number, "loss": loss, "validation": {"accuracy": value}}
            for number, (loss, value) in enumerate(course, 1)
        ]
        best = max(range(len(course)), key=lambda number: (course[number][1], number)) + 1
        self.recipe, self.manifest, self.path, self.evidence = run.recipe, run.manifest, run.path, {}
        self.result: dict[str, Any] = {
            **run.result, "history": history, "best_epoch": best, "metric": "accuracy",
            "validation": {"accuracy": {"value": course[best - 1][1]}},
        }  # fmt: skip


RISING = [(1.0, 0.5), (0.8, 0.6), (0.7, 0.7), (0.6, 0.8)]
FALLING = [(1.0, 0.7), (0.6, 0.8), (0.3, 0.76), (0.2, 0.72), (0.1, 0.66), (0.05, 0.6)]


def test_a_course_that_still_rises_asks_for_time(run: Run) -> None:
    advice = more_epochs(Told(run, RISING))  # type: ignore[arg-type]
    assert advice is not None
    assert advice.changes == {"training.epochs": 6.0}
    assert more_epochs(Told(run, FALLING)) is None  # type: ignore[arg-type]


def test_a_course_that_falls_asks_for_less_of_it(run: Run) -> None:
    advice = overfitting(Told(run, FALLING))  # type: ignore[arg-type]
    assert advice is not None
    assert advice.changes["training.early_stopping"] == 3
    assert overfitting(Told(run, RISING)) is None  # type: ignore[arg-type]


def test_every_advice_can_be_run(run: Run, home: Path, tmp_path: Path) -> None:
    """What each rule would change is a recipe that can be read."""
    from unfreeze.recipe_io import with_values

    found = [rule(Told(run, course)) for _, rule in ADVICE.items() for course in (RISING, FALLING)]  # type: ignore[arg-type]
    for advice in [*filter(None, found), *advise(run)]:
        with_values(run.recipe, advice.changes)
        assert (advice.command(run) or "unfreeze fit").startswith("unfreeze fit")
        assert 0 <= advice.gain <= 1


def with_seconds(seconds: float) -> Context:
    """A context that knows its time alone."""
    nothing: Any = None
    return Context(nothing, nothing, {}, {}, seconds=seconds)


def test_each_kind_has_time_of_its_own() -> None:
    """What the first takes too much is not taken from one that looks at the clock later, beyond what is really gone."""
    context = with_seconds(90.0)
    context.share_among([0.0] * 9)
    first = context.time_left()
    assert 53 < first <= 54, "most of it"
    context._until = time.monotonic() - 1.0
    assert context.time_left() < 0
    context.share_among([0.0] * 2)
    assert 53 < context.time_left() <= 54, "what the first did not take"


@pytest.mark.parametrize(
    ("needs", "given"),
    [
        ([10.0, 30.0, 40.0], 10 + 0.6 * 10),
        ([10.0, 100.0, 40.0], 10 + 0.6 * 40),  # nothing is kept for one that cannot have enough
        ([10.0, 100.0, 85.0, 40.0], 10 + 0.6 * 40),
        ([80.0, 30.0], 80 + 0.6 * 10),  # the first ones first
        ([120.0, 30.0], 90.0),
        ([0.0, 89.0], 0.6),
    ],
)
def test_what_others_need_is_kept_for_them(needs: list[float], given: float) -> None:
    context = with_seconds(90.0)
    context.share_among(needs)
    assert given - 0.5 < context.time_left() <= given


def test_every_kind_that_looks_at_the_clock_is_given_time() -> None:
    """A kind that asks for the time left would read what the one before it left of its own share."""
    for name, kind in EVIDENCE.items():
        module = import_module(f"unfreeze.evidence.{name.replace('-', '_')}")
        asks = "time_left" in inspect.getsource(module)
        assert not asks or kind.costly or kind.timed, name
