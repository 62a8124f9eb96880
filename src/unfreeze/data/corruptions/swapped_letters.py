"""Neighbouring letters in the wrong order."""

from __future__ import annotations

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._typing import TYPOS, on_words, pick
from unfreeze.registry import Card


def swap(word: str, where: float, which: float) -> str:
    """Two neighbouring letters of the word exchanged; a word of one letter, or of equal ones, stays."""
    places = [
        place
        for place in range(len(word) - 1)
        if word[place].isalpha() and word[place + 1].isalpha() and word[place] != word[place + 1]
    ]
    if not places:
        return word
    place = pick(places, where)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


CORRUPTION = Corruption(
    Card(
        what="in 5 % to 50 % of the words two neighbouring letters are exchanged",
        when="people type fast",
        cost="next to nothing",
        evidence="texts with such typos lower the accuracy of most models; the shares are ours",
        source="Belinkov & Bisk 2018, arXiv:1711.02173",
    ),
    modality="text",
    group="typing",
    apply=on_words(swap, TYPOS),
)
