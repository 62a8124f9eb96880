"""Letters mistyped for their neighbours on the keyboard."""

from __future__ import annotations

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._typing import TYPOS, on_words, pick
from unfreeze.registry import Card

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHIFTS = (0.0, 0.25, 0.75)
"""How far each row of a keyboard stands to the right of the first, in keys."""

REACH = 1.3
"""Keys that are so near are neighbours."""


def _neighbours() -> dict[str, str]:
    places = {
        letter: (number, column + SHIFTS[number])
        for number, row in enumerate(ROWS)
        for column, letter in enumerate(row)
    }
    return {
        letter: "".join(
            other
            for other, (row_, column_) in places.items()
            if other != letter and (row - row_) ** 2 + (column - column_) ** 2 <= REACH**2
        )
        for letter, (row, column) in places.items()
    }


NEIGHBOURS = _neighbours()


def mistype(word: str, where: float, which: float) -> str:
    """One letter of the word replaced by a neighbour; words without Latin letters stay."""
    places = [place for place, letter in enumerate(word) if letter.lower() in NEIGHBOURS]
    if not places:
        return word
    place = pick(places, where)
    near = NEIGHBOURS[word[place].lower()]
    letter = near[int(which * len(near))]
    return word[:place] + (letter.upper() if word[place].isupper() else letter) + word[place + 1 :]


CORRUPTION = Corruption(
    Card(
        what="in 5 % to 50 % of the words a letter is replaced by its neighbour on a QWERTY keyboard",
        when="people type; only Latin letters are changed",
        cost="next to nothing",
        evidence="texts with such typos lower the accuracy of most models; the shares are ours",
        source="Belinkov & Bisk 2018, arXiv:1711.02173",
    ),
    modality="text",
    group="typing",
    apply=on_words(mistype, TYPOS),
)
