"""Words in capitals."""

from __future__ import annotations

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._typing import on_words
from unfreeze.registry import Card

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def turn(word: str, where: float, which: float) -> str:
    """The word in capitals; one that is in capitals already in small letters."""
    return word.lower() if word.isupper() else word.upper()


CORRUPTION = Corruption(
    Card(
        what="10 % to 100 % of the words are written in capitals",
        when="people shout, or write headlines; nothing changes for a model that reads small letters only",
        cost="next to nothing",
        evidence="a behavioural test rather than a benchmark: meaning is the same, so should be the prediction",
        source="after Ribeiro et al. 2020, CheckList, arXiv:2005.04118",
    ),
    modality="text",
    group="style",
    apply=on_words(turn, SHARES),
)
