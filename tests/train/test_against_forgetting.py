"""EWC, rehearsal and distillation in whole runs: reachable from a recipe, resumable, and less is forgotten."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import KillAt, Killed, essence, fit_images, fit_text, pictures, resume, sentences

import unfreeze
from unfreeze import api
from unfreeze.errors import RecipeError
from unfreeze.evaluation.reading import exact
from unfreeze.evidence._features import head_features
from unfreeze.models.load import load_pretrained
from unfreeze.recipe_io import load_recipe
from unfreeze.run import Run

ALL = {"method__ewc": 0.5, "method__rehearsal": 0.3, "method__distil": 0.5}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sentences with no label at all, and pictures of other numbers."""
    folder = tmp_path_factory.mktemp("source")
    with (folder / "source.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text",), *((text,) for text, _ in sentences(120, seed=5))])
    return {"text": folder / "source.csv", "image": pictures(folder / "others", per_class=45, first=100)}


def fit(kind: str, home: Path, folder: Path, sources: dict[str, Path], **options: Any) -> Run:
    run: Callable[..., Run] = fit_text if kind == "text" else fit_images
    return run(home, folder, **{"evaluation__source": sources[kind], **options})


def drifted(run: Run, inputs: list[Any]) -> float:
    """How far the features of some inputs have moved, as a share of their spread."""
    before = load_pretrained(run.recipe.model, modality=run.manifest.modality, outputs=2, seed=0)
    now, was = (head_features(each, exact(each), inputs, 16) for each in (run.pretrained, before))
    return float((now - was).square().sum(dim=1).mean() / (was - was.mean(dim=0)).square().sum(dim=1).mean())


OTHERS = [text for text, _ in sentences(60, seed=77)]
MOVING = {"method": "full", "epochs": 6, "lr": 1e-3}


@pytest.fixture(scope="module")
def plain(home: Path, tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path]) -> float:
    """How far features of other rows move where nothing holds them."""
    return drifted(fit("text", home, tmp_path_factory.mktemp("plain") / "run", sources, **MOVING), OTHERS)


@pytest.mark.parametrize("name", list(ALL))
def test_each_lets_the_features_of_other_rows_move_less(
    name: str, plain: float, home: Path, tmp_path: Path, sources: dict[str, Path]
) -> None:
    held = drifted(fit("text", home, tmp_path / "held", sources, **MOVING, **{name: 0.8}), OTHERS)
    assert plain > 0.02, "there is something to hold"
    assert held < 0.8 * plain


CASES = {
    "text": {"method": "lp-ft", "epochs": 3},
    "text in bf16": {"method": "full", "epochs": 2, "precision": "bf16", "micro_batch": 3},
    "text, blocks computed twice": {"method": "full", "epochs": 2, "gradient_checkpointing": True},
    "image": {"method": "gradual", "epochs": 4},
    "image, augmented": {"method": "full", "epochs": 2, "augment": ["flip", "crop"]},
    "image, mixed": {"method": "last:2", "epochs": 3, "augment": ["mixup:0.2"]},
}


@pytest.mark.parametrize("case", list(CASES))
def test_an_interrupted_run_is_the_uninterrupted_one(
    case: str, home: Path, tmp_path: Path, sources: dict[str, Path]
) -> None:
    kind = case.split()[0].rstrip(",")
    options = {**CASES[case], **ALL, "checkpoint_steps": 1}
    whole = fit(kind, home, tmp_path / "whole", sources, **options)
    steps = len((whole.path / "log.jsonl").read_text().splitlines())
    assert steps >= 2
    folder = tmp_path / "part"
    recipe = load_recipe(whole.path / "recipe.resolved.yaml")
    recipe = api.recipe_of(recipe.data.path, None, recipe, {"output": folder})[0]
    with pytest.raises(Killed):
        api.fit_recipe(recipe, progress=KillAt(4))
    with pytest.raises(Killed):
        resume(folder, progress=KillAt(2))
    assert essence(resume(folder).path) == essence(whole.path)


def test_blocks_that_are_computed_twice_change_nothing(home: Path, tmp_path: Path, sources: dict[str, Path]) -> None:
    """Rows of the source are read in eval mode, also when activations are made again."""
    options = {"method": "full", "epochs": 2, **ALL}
    runs = [
        fit("text", home, tmp_path / str(twice), sources, **options, gradient_checkpointing=twice)
        for twice in (False, True)
    ]
    both = [run.pretrained.module.state_dict() for run in runs]
    for name, tensor in both[0].items():
        torch.testing.assert_close(both[1][name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_without_a_source_there_is_nothing_to_rehearse(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.source.*method\.distil"):
        fit_text(home, tmp_path / "run", method__rehearsal=0.2)
    assert not (tmp_path / "run").exists()


def test_what_is_estimated_on_what_stands_in_the_resolved_recipe(
    home: Path, tmp_path: Path, sources: dict[str, Path]
) -> None:
    plan = unfreeze.plan(home / "table.csv", str(home / "bert"), target="label", split="split", method__ewc=1.0)
    assert "the task's own training rows" in plan.reasons["method.ewc"]
    run = fit("text", home, tmp_path / "run", sources, epochs=1, method__ewc=1.0, method__rehearsal=0.5)
    text = (run.path / "recipe.resolved.yaml").read_text()
    assert "ewc: 1.0  # importance is estimated on rows of" in text
    assert "rehearsal: 0.5  # 8 of " in text
    assert run.recipe.evaluation.source == str(sources["text"].resolve())


def test_a_head_alone_learns_as_if_nothing_were_held(home: Path, tmp_path: Path, sources: dict[str, Path]) -> None:
    plain = fit("text", home, tmp_path / "plain", sources, method="head")
    held = fit("text", home, tmp_path / "held", sources, method="head", **ALL)
    assert essence(plain.path)["weights"] == essence(held.path)["weights"]


def test_the_forecast_counts_what_they_keep(home: Path, sources: dict[str, Path]) -> None:
    def peak(**options: Any) -> dict[str, int]:
        made = unfreeze.plan(
            home / "table.csv",
            str(home / "bert"),
            target="label",
            split="split",
            method="full",
            batch_size=8,
            precision="float32",
            evaluation__source=sources["text"],
            **options,
        )
        assert made.forecast is not None
        moment = next(moment for moment in made.forecast.moments if moment.learns)
        return dict(moment.parts)

    plain, ewc, rehearsal = peak(), peak(method__ewc=1.0), peak(method__rehearsal=0.5)
    assert ewc["gradients"] == 3 * plain["gradients"]
    assert rehearsal["gradients"] == 2 * plain["gradients"]
    rows = 60
    assert rehearsal["encoded rows"] - plain["encoded rows"] > rows * 16 * 4
