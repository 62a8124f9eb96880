"""Letters left out."""

from __future__ import annotations

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._typing import TYPOS, on_words, pick
from unfreeze.registry import Card


def leave_out(word: str, where: float, which: float) -> str:
    """The word without one of its letters; one with a single letter stays."""
    places = [place for place, letter in enumerate(word) if letter.isalpha()]
    if len(places) < 2:
        return word
    place = pick(places, where)
    return word[:place] + word[place + 1 :]


CORRUPTION = Corruption(
    Card(
        what="in 5 % to 50 % of the words a letter is left out",
        when="people type, or text was recognised from pictures",
        cost="next to nothing",
        evidence="texts with such typos lower the accuracy of most models; the shares are ours",
        source="Pruthi et al. 2019, arXiv:1905.11268",
    ),
    modality="text",
    group="typing",
    apply=on_words(leave_out, TYPOS),
)
