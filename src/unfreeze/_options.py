"""What the options of a recipe accept, checked by their type annotations and told in words. pydantic comes lazily."""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from os import PathLike
from typing import Annotated, Any, Literal

from unfreeze import _yaml
from unfreeze.errors import nearest


@cache
def hints_of(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


@cache
def _adapter_of(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def checked(hint: Any, value: Any) -> Any:
    """The value as its type has it (3 as 3.0 where a number is asked for); it has to fit."""
    return _adapter_of(hint).validate_python(value)


def fits(hint: Any, value: Any) -> bool:
    from pydantic import ValidationError

    if isinstance(hint, type) and is_dataclass(hint):
        return isinstance(value, Mapping)
    try:
        _adapter_of(hint).validate_python(value)
    except ValidationError:
        return False
    return _is_plain(value)


def _is_plain(value: Any) -> bool:
    """Made of nothing but what YAML can hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def plain(value: Any) -> Any:
    """Python values as YAML would give them: dataclasses as mappings, tuples as lists, paths as texts."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value


def item_class(hint: Any) -> type | None:
    """PhaseRecipe for list[PhaseRecipe]."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list and isinstance(arguments[0], type) and is_dataclass(arguments[0]):
        return arguments[0]
    return None


def misfit(name: str, hint: Any, value: Any) -> str:
    message = f"{name} must be {describe(hint)}. Got {got(value)} instead."
    choices = _choices(hint)
    if choices and isinstance(value, str):
        message += f" {nearest(value, choices)}"
    elif not isinstance(value, (str, list, dict)) and fits(hint, str(value)):
        message += " Put it in quotes if it is meant as a text."
    return message


def got(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if value is None:
        return "nothing"
    text = ("true" if value else "false") if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def describe(hint: Any) -> str:
    """What a type accepts, in words: "a number greater than 0, or none"."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return describe(arguments[0]) + "".join(_bounds(arguments[1:]))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(describe(each) for each in arguments)
    if origin is list:
        return "a list of " + _PLURALS.get(arguments[0], "phases")
    if origin is dict:
        return "a mapping of names to " + _PLURALS[arguments[1]]
    return _WORDS.get(hint, "a mapping of options")


_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    types.NoneType: "null",
}
_PLURALS: dict[Any, str] = {float: "numbers", str: "texts", Any: "plain values"}


def _bounds(marks: Sequence[Any]) -> Iterator[str]:
    words = {"ge": "of at least", "gt": "greater than", "le": "of at most", "lt": "less than"}
    found = [
        f" {word} {_figure(getattr(mark, name))}"
        for mark in marks
        for name, word in words.items()
        if hasattr(mark, name)
    ]
    yield " and".join(found)


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _choices(hint: Any) -> list[str]:
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    return [choice for each in typing.get_args(hint) for choice in _choices(each)]


def default_of(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def rows(kind: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    hints = hints_of(kind)
    for item in fields(kind):
        hint, key, help_ = hints[item.name], f"{prefix}{item.name}", item.metadata.get("help", "")
        if isinstance(hint, type) and is_dataclass(hint):
            yield from rows(hint, f"{key}.")
            continue
        yield key, describe(hint), _yaml.flow(default_of(item)), help_
        inner = item_class(hint)
        if inner is not None:
            yield from rows(inner, f"{key}[].")
