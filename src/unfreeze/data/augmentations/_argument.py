"""The number that may follow an augmentation's name."""

from __future__ import annotations

import math

from unfreeze.errors import RecipeError


def number(name: str, argument: str | None, default: float, low: float, high: float) -> float:
    """`argument` as a number in [low, high]; `default` when there is none.

    Raises
    ------
    RecipeError
        If it is not a number or lies outside.
    """
    if argument is None:
        return default
    try:
        value = float(argument)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise RecipeError(
            f"training.augment: '{name}' takes a number from {low:g} to {high:g} after the colon, got '{argument}'."
        )
    return value
