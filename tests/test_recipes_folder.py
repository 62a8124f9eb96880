"""Every recipe that is shipped loads, and its header says how to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze.methods import StackView, parse_method, phases_of
from unfreeze.recipe_io import load_recipe, with_values

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
STACK = StackView(("embeddings", *(f"block {number}" for number in range(6)), "head"), (1,) * 8)


def test_none_is_overlooked() -> None:
    assert len(RECIPES) == 7
    assert not list((ROOT / "recipes").rglob("*.yml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_it_loads_and_plans(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.data.path is not None
    if not recipe.method.phases:
        assert recipe.method.name is not None
        parse_method(recipe.method.name)
    phases = phases_of(recipe, STACK)
    assert phases
    assert phases_of(with_values(recipe, {}), STACK) == phases


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_its_header_holds_the_exact_command(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert f"unfreeze fit {path.relative_to(ROOT).as_posix()}" in header


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_its_names_are_known(path: Path) -> None:
    from unfreeze.data.augmentations import AUGMENTATIONS
    from unfreeze.optim.optimizers import OPTIMIZERS
    from unfreeze.optim.schedules import SCHEDULES

    training = load_recipe(path).training
    assert training.optimizer in OPTIMIZERS.names()
    assert training.schedule in SCHEDULES.names()
    assert {name.partition(":")[0] for name in training.augment or ()} <= set(AUGMENTATIONS.names())
