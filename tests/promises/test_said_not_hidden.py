"""Promise 7: every default stands in the resolved recipe with its reason, every figure with interval and baseline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from small import BASE, CNN_OPTIONS, essence, fit_images, fit_text

import unfreeze
from unfreeze import api
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import dump_recipe, load_recipe

OPEN = {
    # What may stay open, since "none" is the choice itself and says so in the option's own documentation.
    *(f"data.{name}" for name in ("validation", "test", "text", "pair", "image", "target", "group", "split")),
    *("data.separator", "data.encoding", "data.max_rows", "data.split_seed", "data.drop_suspects", "evaluation.source"),
    *("model.revision", "model.weights", "training.groups"),
    *("model.image_size", "model.channels", "model.max_length", "model.dropout", "model.pooling", "method.layer_decay"),
    *("training.micro_batch", "training.grad_clip", "training.early_stopping", "training.ema", "training.threads"),
    *("training.checkpoint_steps", "training.cache_budget", "training.memory_budget", "output.folder", "method.name"),
    *("evaluation.batch_size", "evaluation.batch_tokens"),
}
TEXT_ONLY = {"model.max_length", "model.pooling", "evaluation.batch_tokens"}
IMAGE_ONLY = {"model.image_size", "model.channels", "evaluation.batch_size"}


def leaves(part: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in fields(part):
        value = getattr(part, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value


def commented(text: str) -> dict[str, str]:
    """Dotted key to the comment behind its value."""
    found, section = {}, ""
    for line in text.splitlines():
        match = re.match(r"( *)(\w+):(.*?)(?:  # (.*))?$", line)
        if match is None:
            continue
        indent, key, value, comment = match.groups()
        if not indent and not value.strip():
            section = f"{key}."
        found[f"{section if indent else ''}{key}"] = comment or ""
    return found


def unexplained(asked: Recipe, resolved: Recipe, text: str) -> set[str]:
    """Options that were open, are decided now, and have no reason."""
    comments, before = commented(text), dict(leaves(asked))
    return {key for key, value in leaves(resolved) if before[key] is None and value is not None and not comments[key]}


def plans(home: Path) -> Iterator[tuple[str, Recipe, unfreeze.planning.Plan]]:
    text = {"target": "label", "split": "split"}
    image = {"model__options": CNN_OPTIONS, "model__weights": home / "cnn.safetensors"}
    for data, model, options in (
        (home / "table.csv", str(home / "bert"), text),
        (home / "pictures", "resnet18", image),
    ):
        asked, _ = api.recipe_of(data, model, None, options)
        yield data.name, asked, unfreeze.plan(data, model, **options)


def test_every_default_has_its_reason(home: Path) -> None:
    for name, asked, made in plans(home):
        text = dump_recipe(made.recipe, made.reasons)
        assert unexplained(asked, made.recipe, text) == set(), name
        assert {"training.lr", "training.head_lr", "training.epochs", "training.batch_size"} <= set(made.reasons)
        assert all(len(reason) > 5 for reason in made.reasons.values())


def test_a_default_without_reason_would_be_noticed(home: Path) -> None:
    _, asked, made = next(plans(home))
    without = {key: reason for key, reason in made.reasons.items() if key != "training.lr"}
    assert unexplained(asked, made.recipe, dump_recipe(made.recipe, without)) == {"training.lr"}


def test_nothing_that_decides_the_run_is_left_open(home: Path) -> None:
    for name, _, made in plans(home):
        still = {key for key, value in leaves(made.recipe) if value is None}
        assert still <= OPEN, name
        decided = TEXT_ONLY if name == "table.csv" else IMAGE_ONLY
        assert not still & decided, name


@pytest.mark.parametrize("kind", ["text", "images"])
def test_the_resolved_recipe_gives_the_same_run(home: Path, tmp_path: Path, kind: str) -> None:
    if kind == "text":
        first = fit_text(home, tmp_path / "first", epochs=None, method=None, lr=None, head_lr=None, batch_size=None)
    else:
        first = fit_images(home, tmp_path / "first", method="full", lr=None, head_lr=None, augment=None)
    recipe = load_recipe(first.path / "recipe.resolved.yaml")
    again = api.fit_recipe(replace(recipe, output=replace(recipe.output, folder=str(tmp_path / "again"))))
    assert essence(again.path) == essence(first.path)
    assert load_recipe(again.path / "recipe.resolved.yaml").training == recipe.training


def test_another_seed_gives_another_run(home: Path, tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    runs = [fit_text(home, tmp_path / str(seed), method="full", seed=seed) for seed in (0, 1)]
    assert essence(runs[0].path)["weights"] != essence(runs[1].path)["weights"]


def test_every_figure_has_an_interval_and_stands_beside_a_baseline(home: Path, tmp_path: Path) -> None:
    result = fit_text(home, tmp_path / "run").result
    for split in ("validation", "test"):
        assert result["metric"] in result[split]
        for figure in result[split].values():
            assert figure["low"] <= figure["value"] <= figure["high"]
    assert result["baseline"]["name"] == "majority class"
    assert set(result["baseline"]["test"]) == set(result["test"])
    assert result["rows"] == {"train": 44, "validation": 18, "test": 18}


def test_notes_say_what_was_done_otherwise_than_one_might_think(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", method="head", epochs=1)
    assert any("computed plainly: each row is read once" in note for note in run.result["notes"])
    assert BASE["evaluation__gate"] == run.result["gate"]["process"] == "inline"
