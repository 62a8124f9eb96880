"""What a sweep is asked to try."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unfreeze.errors import RecipeError
from unfreeze.grid import LARGEST_SEED, Grid, read_asked
from unfreeze.recipe import Recipe, TrainingRecipe

RESOLVED = Recipe(seed=5, training=TrainingRecipe(head_lr=0.02, weight_decay=0.1))


def test_every_rate_with_every_decay_from_every_seed() -> None:
    grid = read_asked((1e-3, 1e-2), (0, 0.5), 3).grid(RESOLVED)
    assert grid == Grid((0.001, 0.01), (0.0, 0.5), (5, 6, 7))
    assert grid.configurations == [(0.001, 0.0), (0.001, 0.5), (0.01, 0.0), (0.01, 0.5)]
    assert len(grid) == 12


@pytest.mark.parametrize(
    ("rates", "decays", "seeds"),
    [("1e-3, 0.01", "0", "2"), ([0.001, "0.01"], 0, np.int64(2)), (np.array([1e-3, 1e-2]), [0.0], 2)],
)
def test_numbers_as_they_are_typed_or_given(rates: Any, decays: Any, seeds: Any) -> None:
    assert read_asked(rates, decays, seeds).grid(RESOLVED) == Grid((0.001, 0.01), (0.0,), (5, 6))


def test_what_is_not_named_is_taken_around_the_recipe() -> None:
    assert read_asked().grid(RESOLVED) == Grid((0.002, 0.006, 0.02, 0.06), (0.0, 0.1), (5, 6, 7, 8))
    plain = replace(RESOLVED, training=replace(RESOLVED.training, weight_decay=0.0))
    assert read_asked().grid(plain).decays == (0.0,)


@pytest.mark.parametrize(
    ("rates", "decays", "seeds", "said"),
    [
        ("fast", None, 4, "rates must be numbers greater than 0, such as 0.001,0.01. Got 'fast' instead."),
        ((0.0,), None, 4, "rates must be numbers greater than 0"),
        ((-1e-3,), None, 4, "Got -0.001 instead"),
        ((float("nan"),), None, 4, "Got nan instead"),
        ("inf", None, 4, "Got 'inf' instead"),
        ((True,), None, 4, "Got True instead"),
        ((None,), None, 4, "Got None instead"),
        ((), None, 4, "rates must name at least one number"),
        ("", None, 4, "Got '' instead"),
        ("0.01,1e-2", None, 4, "rates names 0.01 twice"),
        (None, "-0.1", 4, "decays must be numbers of at least 0"),
        (None, None, 0, "seeds must be a whole number of at least 1: how many there are. Got 0 instead."),
        (None, None, "few", "Got 'few' instead"),
        (None, None, 1.5, "Got 1.5 instead"),
        (None, None, (1, 2), "Got (1, 2) instead"),
        (
            None,
            None,
            10**6,
            "At most 4096 heads are trained together; 4 rates, 1 decays and 1000000 seeds are 4,000,000.",
        ),
    ],
)
def test_what_is_refused(rates: Any, decays: Any, seeds: Any, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_asked(rates, decays, seeds)
    assert said in str(caught.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        read_asked("a,-1", "b", 0)
    assert len(caught.value.problems) == 4


def test_heads_and_seeds_are_counted_with_what_was_decided() -> None:
    with pytest.raises(RecipeError, match="are 8,192"):
        read_asked(seeds=1024).grid(RESOLVED)
    with pytest.raises(RecipeError, match=f"larger than {LARGEST_SEED}"):
        read_asked(seeds=2).grid(replace(RESOLVED, seed=LARGEST_SEED))
