"""Texts without commas and full stops."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._words import Text, each_text
from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def missing_punctuation(item: Text, severity: int, rng: Generator) -> Text:
    """Leave a share of the punctuation marks out."""

    def one(text: str, rng: Generator) -> str:
        kept = rng.random(len(text)) >= SHARES[severity - 1]
        return "".join(letter for letter, keep in zip(text, kept, strict=True) if keep or not _is_mark(letter))

    return each_text(one)(item, rng)


def _is_mark(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P")


CORRUPTION = Corruption(
    Card(
        what="20 % to 100 % of the punctuation marks are left out",
        when="people write messages, or speech was transcribed",
        cost="next to nothing",
        evidence="a behavioural test rather than a benchmark: meaning is mostly the same",
        source="after Ribeiro et al. 2020, CheckList, arXiv:2005.04118",
    ),
    modality="text",
    group="style",
    apply=missing_punctuation,
)
