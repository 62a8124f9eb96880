"""Words left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.augmentations._words import Text, each_text, join, split
from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)


def missing_words(item: Text, severity: int, rng: Generator) -> Text:
    """Leave a share of the words out; one remains."""

    def one(text: str, rng: Generator) -> str:
        words, spaces = split(text)
        draws = rng.random(len(words))
        kept = [
            place for place, draw in enumerate(draws) if draw >= SHARES[severity - 1] or draw == draws.max(initial=0)
        ]
        if len(kept) == len(words):
            return text
        return join([words[place] for place in kept], [spaces[0], *(spaces[place + 1] for place in kept)])

    return each_text(one)(item, rng)


CORRUPTION = Corruption(
    Card(
        what="5 % to 40 % of the words are left out",
        when="people write in haste, or speech was transcribed badly",
        cost="next to nothing",
        evidence="harder than typos, since what is left out may decide; the shares are ours",
        source="after Wei & Zou 2019, arXiv:1901.11196, where it augments training data",
    ),
    modality="text",
    group="typing",
    apply=missing_words,
)
