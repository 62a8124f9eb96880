"""Method names with their arguments, as people write them: "head", "last:2"."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from unfreeze import _yaml
from unfreeze.errors import RecipeError, nearest
from unfreeze.methods import METHODS
from unfreeze.methods._method import MethodContext, StackView
from unfreeze.recipe import MethodRecipe
from unfreeze.recipe_io import read_options


def parse_method(text: str) -> tuple[str, str | None]:
    """Split "last:2" into the method's registered name and its argument (its default where there is one).

    Raises
    ------
    RecipeError
        If there is no such method, or an argument is missing or not wanted.
    """
    written, _, argument = (part.strip() for part in text.partition(":"))
    name = written.lower().replace("_", "-")
    if name not in METHODS.names():
        raise RecipeError(f"method.name: unknown method '{written}'. {nearest(written, METHODS.names())}")
    method = METHODS.get(name)
    if argument and method.argument is None:
        raise RecipeError(f"method.name: '{name}' takes nothing after a colon. Got '{text}' instead.")
    if argument or method.argument is None or method.optional:
        return name, argument or None
    if method.default_argument is None:
        raise RecipeError(f"method.name: '{name}' needs a number ({method.argument}), as in {name}:2. Got '{text}'.")
    return name, method.default_argument


def all_settings(recipe: MethodRecipe) -> dict[str, Any]:
    """Every setting of the method that a recipe names, with its default where the recipe says nothing.

    Raises
    ------
    RecipeError
        If the method or a setting is unknown, of the wrong kind, or said twice and differently.
    """
    name, argument = parse_method(recipe.name or "")
    method = METHODS.get(name)
    if method.options is None:
        if recipe.options:
            raise RecipeError(f"method.options: '{name}' has no settings. Got {', '.join(recipe.options)}.")
        return {}
    given, where = dict(recipe.options), f"method.options of {name}"
    if argument is not None and method.argument in {field.name for field in fields(method.options)}:
        value = _yaml.read(argument, "method.name").value
        if given.setdefault(method.argument, value) != value:
            raise RecipeError(
                f"method.name says '{recipe.name}' and method.options.{method.argument} {given[method.argument]}: "
                "leave one of them out."
            )
        where = f"method.name '{recipe.name}'"
    return asdict(read_options(method.options, given, where))


def count(context: MethodContext, name: str, most: int) -> int:
    """The argument of a method as a number of layer groups from 1 to `most`.

    Raises
    ------
    RecipeError
        If it is no whole number or too large for this stack, whose groups the message lists.
    """
    return group_count(context.argument or "", context.stack, most, f"method.name: '{name}:{context.argument}'")


def group_count(text: str, stack: StackView, most: int, where: str) -> int:
    """A number of layer groups from 1 to `most`, or RecipeError beginning with `where`."""
    try:
        number = int(text)
    except ValueError:
        raise RecipeError(f"{where} must have a whole number after the colon. Got '{text}' instead.") from None
    if not 1 <= number <= most:
        raise RecipeError(
            f"{where} must be between 1 and {most} for this model, which has {len(stack.names)} layer groups: "
            f"{', '.join(stack.names)}."
        )
    return number
