"""Which configurations of a head are trained together: every rate with every weight decay, each from several seeds."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from unfreeze.errors import RecipeError
from unfreeze.recipe import Recipe

MOST = 4096
"""Heads that are trained together at most."""

AROUND = (0.1, 0.3, 1.0, 3.0)
"""Rates that are tried where none are named, relative to training.head_lr."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Grid:
    """Every rate with every decay from every seed."""

    rates: tuple[float, ...]
    decays: tuple[float, ...]
    seeds: tuple[int, ...]

    @property
    def configurations(self) -> list[tuple[float, float]]:
        """Each rate with each decay, the decay changing fastest."""
        return list(product(self.rates, self.decays))

    def __len__(self) -> int:
        return len(self.rates) * len(self.decays) * len(self.seeds)


@dataclass(frozen=True)
class Asked:
    """What a sweep was asked to try; None is decided from the recipe."""

    rates: tuple[float, ...] | None
    decays: tuple[float, ...] | None
    seeds: int

    def grid(self, recipe: Recipe) -> Grid:
        """The grid around a resolved recipe, whose seed is the first.

        Raises
        ------
        RecipeError
            If there are too many heads, or the last seed is too large.
        """
        training, last = recipe.training, recipe.seed + self.seeds - 1
        assert training.head_lr is not None, "the recipe is resolved"
        rates = self.rates or tuple(float(f"{training.head_lr * factor:.6g}") for factor in AROUND)
        decays = self.decays or tuple(dict.fromkeys((0.0, training.weight_decay)))
        if last > LARGEST_SEED:
            raise RecipeError(f"seeds go up from {recipe.seed}, so that the last would be larger than {LARGEST_SEED}.")
        _check_size(len(rates), len(decays), self.seeds)
        return Grid(rates, decays, tuple(range(recipe.seed, last + 1)))


def read_asked(rates: Any = None, decays: Any = None, seeds: Any = 4) -> Asked:
    """Rates, decays and the number of seeds as given in Python or typed: `(1e-3, 1e-2)` or "1e-3,1e-2".

    Raises
    ------
    RecipeError
        With every problem: what is no number, out of range or named twice, and more than 4096 heads.
    """
    problems: list[str] = []
    found = Asked(
        _numbers("rates", rates, "greater than 0", problems),
        _numbers("decays", decays, "of at least 0", problems),
        _count(seeds, problems),
    )
    if problems:
        raise RecipeError(problems)
    _check_size(len(found.rates or AROUND), len(found.decays or (0,)), found.seeds)
    return found


def _check_size(rates: int, decays: int, seeds: int) -> None:
    if rates * decays * seeds > MOST:
        raise RecipeError(
            f"At most {MOST} heads are trained together; {rates} rates, {decays} decays and {seeds} seeds are "
            f"{rates * decays * seeds:,}."
        )


def _numbers(name: str, given: Any, bound: str, problems: list[str]) -> tuple[float, ...] | None:
    if given is None:
        return None
    items = given.split(",") if isinstance(given, str) else given if isinstance(given, Iterable) else [given]
    values: list[float] = []
    for item in items:
        value = _number(item)
        if not math.isfinite(value) or value < 0 or (value == 0 and name == "rates"):
            problems.append(f"{name} must be numbers {bound}, such as 0.001,0.01. Got {item!r} instead.")
        elif value in values:
            problems.append(f"{name} names {value:g} twice.")
        else:
            values.append(value)
    if not values and not problems:
        problems.append(f"{name} must name at least one number.")
    return tuple(values)


def _number(item: Any) -> float:
    """NaN where it is none."""
    if isinstance(item, bool) or not isinstance(item, (str, numbers.Real)):
        return math.nan
    try:
        return float(item)
    except ValueError:
        return math.nan


def _count(given: Any, problems: list[str]) -> int:
    try:
        count = int(given) if isinstance(given, (str, numbers.Integral)) and not isinstance(given, bool) else 0
    except ValueError:
        count = 0
    if count < 1:
        problems.append(f"seeds must be a whole number of at least 1: how many there are. Got {given!r} instead.")
    return count
