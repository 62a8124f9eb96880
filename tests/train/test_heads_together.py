"""Heads trained together end where each ends alone: the same weights up to rounding, whatever the recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import BASE, CNN_OPTIONS, fit_images, fit_text, sentences, weights
from torch import Tensor

from unfreeze import api
from unfreeze.errors import ModelError
from unfreeze.grid import Grid
from unfreeze.planning import make_plan
from unfreeze.progress import Progress, Silent
from unfreeze.run import Run
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.sweeping import Swept, train_together
from unfreeze.train import replaying

GRID = Grid((0.01, 0.1), (0.0, 0.2), (0, 1, 4))
PLACES = [(0, 0), (1, 3), (2, 1)]
"""Of these heads a run is made alone."""

EXACT = {"model__dropout": 0.0}
WAYS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "schedule": "cosine"},
    "no clipping, constant rate": {"grad_clip": None, "schedule": "constant", "warmup": 0.0},
    "tight clipping": {"grad_clip": 0.05, "schedule": "one-cycle"},
    "weights and smoothing": {"class_weights": "balanced", "label_smoothing": 0.2, "sampling": "balanced"},
    "focal": {"training__loss": "focal:1.5", "schedule": "step"},
    "halved on a plateau": {"schedule": "plateau", "epochs": 6},
    "stopped early": {"early_stopping": 1, "epochs": 8, "schedule": "constant"},
    "parts of an epoch": {"epochs": 2.5},
    "by another metric": {"metric": "nll"},
    "dropped": {"model__dropout": 0.4},
    "dropped in parts": {"model__dropout": 0.4, "micro_batch": 3},
    "features computed plainly": {"replay": False},
    "bfloat16 below the head": {"precision": "bf16"},
}


def together(data: Any, model: str, grid: Grid = GRID, progress: Progress | None = None, **options: Any) -> Swept:
    asked, objects = api.recipe_of(data, model, None, {"seed": grid.seeds[0], "method": "head", **BASE, **options})
    made = make_plan(asked, objects)
    return train_together(api.make_job(made, Path(), progress or Silent()), grid)


def heads(swept: Swept, place: tuple[int, int]) -> list[Tensor]:
    return [part[place] for part in swept.training.best.parts]


def head_of(run: Run, prefix: str = "head") -> list[Tensor]:
    found = weights(run)
    return [found[f"{prefix}.weight"], found[f"{prefix}.bias"]]


def own(place: tuple[int, int], grid: Grid = GRID) -> dict[str, Any]:
    """The options with which that head is trained alone."""
    rate, decay = grid.configurations[place[1]]
    return {"seed": grid.seeds[place[0]], "head_lr": rate, "weight_decay": decay}


def check(swept: Swept, place: tuple[int, int], run: Run, prefix: str = "head") -> None:
    course, result = swept.training.courses[place], run.result
    for found, expected in zip(heads(swept, place), head_of(run, prefix), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    assert course.best_epoch == result["best_epoch"]
    assert course.stopped == result["stopped"]
    assert len(course.history) == len(result["history"])
    for one, other in zip(course.history, result["history"], strict=True):
        assert one.keys() == other.keys()
        assert (one["epoch"], one["phase"], one["step"]) == (other["epoch"], other["phase"], other["step"])
        assert one["lr"] == pytest.approx(other["lr"], rel=1e-12)
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["validation"] == pytest.approx(other["validation"], rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_each_head_ends_where_it_ends_alone(home: Path, tmp_path: Path, way: str) -> None:
    options = {"epochs": 4, "target": "label", "split": "split", **EXACT, **WAYS[way]}
    swept = together(home / "table.csv", str(home / "bert"), **options)
    for place in PLACES:
        run = fit_text(home, tmp_path / f"{place}", **{"method": "head", **options, **own(place)})
        check(swept, place, run)


def test_heads_that_differ_in_the_seed_differ(home: Path) -> None:
    swept = together(home / "table.csv", str(home / "bert"), target="label", split="split", epochs=1, **EXACT)
    best = swept.training.best.weight
    assert len({tuple(best[seed, 0].flatten().tolist()) for seed in range(3)}) == 3


def test_images(home: Path, tmp_path: Path) -> None:
    model = {"model__options": CNN_OPTIONS, "model__weights": home / "cnn.safetensors", "model__image_size": 32}
    grid = Grid((0.01, 0.1), (0.0,), (2, 3))
    swept = together(home / "pictures", "resnet18", grid, epochs=2, split_seed=0, **model)
    for place in ((0, 0), (1, 1)):
        run = fit_images(home, tmp_path / f"{place}", split_seed=0, **own(place, grid))
        check(swept, place, run, "backbone.fc")


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_other_tasks(home: Path, tmp_path: Path, task: str) -> None:
    rows = sentences(60)
    targets = {
        "regression": [float(len(text)) for text, _ in rows],
        "multilabel": [label if len(text) % 3 else f"{label};long" for text, label in rows],
    }
    data = {"text": [text for text, _ in rows], "target": targets[task]}
    options: dict[str, Any] = {"task": task, "epochs": 3, "split_seed": 0, "target": "target", **EXACT}
    options |= {"separator": ";"} if task == "multilabel" else {"training__loss": "huber:0.5"}
    grid = Grid((0.01, 0.1), (0.0,), (2, 3))
    swept = together(data, str(home / "bert"), grid, **options)
    for place in ((0, 1), (1, 0)):
        run = fit_text(
            home,
            tmp_path / f"{place}",
            **{"data": data, "method": "head", "split": None, **options, **own(place, grid)},
        )
        check(swept, place, run)


def test_a_head_that_diverges_leaves_the_others(home: Path, tmp_path: Path) -> None:
    options = {"epochs": 3, "target": "label", "split": "split", "optimizer": "sgd", "grad_clip": None, **EXACT}
    options |= {"schedule": "constant", "warmup": 0.0}
    grid = Grid((0.1, 3e38), (0.0, 0.2), (0, 1))
    swept = together(home / "table.csv", str(home / "bert"), grid, **options)
    assert all(swept.training.courses[seed, one].diverged == (one > 1) for seed in range(2) for one in range(4))
    run = fit_text(home, tmp_path / "run", **{"method": "head", **options, **own((1, 1), grid)})
    check(swept, (1, 1), run)
    assert [row["mean"] is None for row in swept.table] == [False, False, True, True]
    assert swept.table[-1]["seeds"] == [{"seed": seed, "diverged_in_epoch": 1} for seed in (0, 1)]


def test_features_are_computed_once_and_kept(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single epoch, which alone would not be worth keeping anything for."""
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})
    PROCESS_CACHE.clear()
    told: list[str] = []
    progress = Silent()
    progress.stage = told.append  # type: ignore[method-assign]
    options = {"epochs": 1, "target": "label", "split": "split"}
    for _ in range(2):
        together(home / "table.csv", str(home / "bert"), progress=progress, **options)
    assert sum("frozen features" in line for line in told) == 2, "of training and of validation"
    PROCESS_CACHE.clear()


def test_a_head_of_two_parts_is_refused() -> None:
    from tiny import image_source

    from unfreeze.models.families import FAMILIES
    from unfreeze.models.load import adapt
    from unfreeze.recipe import ModelRecipe
    from unfreeze.stack.groups import build_stack
    from unfreeze.stack.working import make_working
    from unfreeze.train.head_inputs import head_of as single_head

    small = {"embed_dim": 32, "depth": 1, "num_heads": 2}
    source = image_source(FAMILIES.get("vit"), 0, "deit_tiny_distilled_patch16_224", **small)
    made = adapt(source, ModelRecipe(name="deit"), outputs=2, seed=0)
    stack = build_stack(made.module, made.family.patterns)

    class Part:
        working = make_working(stack, "float32")
        recipe = api.Recipe(model=ModelRecipe(name="deit"))

    Part.stack = stack  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="'deit' is not one linear layer"):
        single_head(Part)  # type: ignore[arg-type]
