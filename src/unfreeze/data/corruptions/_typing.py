"""What corruptions of texts share: which words are hit. The draws do not depend on the severity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._words import Text, each_text, join, split

if TYPE_CHECKING:
    from numpy.random import Generator

TYPOS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Share of the words that are mistyped."""

Change = Callable[[str, float, float], str]
"""(word, two numbers from 0 to 1 that say how) -> another word, or the same where nothing can be done."""


def on_words(change: Change, shares: tuple[float, ...]) -> Callable[[Text, int, Generator], Text]:
    """A corruption of texts that changes a share of the words, which grows with the severity."""

    def apply(item: Text, severity: int, rng: Generator) -> Text:
        def one(text: str, rng: Generator) -> str:
            words, spaces = split(text)
            draws = rng.random((len(words), 3))
            hit = draws[:, 0] < shares[severity - 1]
            changed = [
                change(word, float(draw[1]), float(draw[2])) if chosen else word
                for word, draw, chosen in zip(words, draws, hit, strict=True)
            ]
            return join(changed, spaces)

        return each_text(one)(item, rng)

    return apply


def pick(places: list[int], draw: float) -> int:
    """One of some places by a number from 0 to 1."""
    return places[int(draw * len(places))]
