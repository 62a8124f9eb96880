"""Words of a text and what stands between them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from numpy.random import Generator

Text: TypeAlias = "str | tuple[str, str]"


def each_text(change: Callable[[str, Generator], str]) -> Callable[[Text, Generator], Text]:
    """The same change for one text or for both of a pair."""

    def both(text: Text, rng: Generator) -> Text:
        return change(text, rng) if isinstance(text, str) else (change(text[0], rng), change(text[1], rng))

    return both


def split(text: str) -> tuple[list[str], list[str]]:
    """Words, and the white space before, between and after them (one more than words, except without words)."""
    return re.findall(r"\S+", text), re.split(r"\S+", text)


def join(words: list[str], spaces: list[str]) -> str:
    """The inverse of `split`."""
    return spaces[0] + "".join(word + space for word, space in zip(words, spaces[1:], strict=True))
