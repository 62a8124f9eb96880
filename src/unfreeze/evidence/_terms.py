"""Words put in each other's place: whole words only, in the case of the word that they replace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations

LETTER = r"\w\u0300-\u036f-"
"""What a word is made of: letters, digits, combining accents and hyphens, so that neither "actors" nor "she-wolf" is
taken for a word of the list."""

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts that are written without spaces between words."""


def swap_problems(groups: Sequence[Sequence[str]], modality: str) -> list[str]:
    """What is wrong with the words of evaluation.swaps."""
    if groups and modality != "text":
        return [f"evaluation.swaps puts words in each other's place; these data are {modality}s."]
    problems = []
    for number, words in enumerate(groups, 1):
        folded = {" ".join(word.casefold().split()) for word in words}
        if "" in folded or len(folded) < 2 or len(folded) < len(words):
            found = ", ".join(repr(word) for word in words) or "nothing"
            problems.append(f"evaluation.swaps: group {number}: expected two or more different words; found {found}.")
    return problems


def present(text: str, words: Sequence[str]) -> list[str]:
    """The words that occur in a text."""
    return [word for word in words if _pattern((word,)).search(text)]


def swapped(text: str, one: str, other: str) -> str:
    """The text with each of two words in the other's place."""
    first = _pattern((one,))

    def replacement(match: re.Match[str]) -> str:
        known, new = (one, other) if first.fullmatch(match.group()) else (other, one)
        return in_case(match.group(), known, new)

    return _pattern((one, other)).sub(replacement, text)


def in_case(found: str, known: str, new: str) -> str:
    """A word in the case of the one that it replaces.

    Parameters
    ----------
    found : str
        The word as it stands in the text.
    known, new : str
        That word and its replacement as they are listed.
    """
    if found == known:
        return new
    letters = [character for character in found if character.isalpha()]
    if len(letters) > 1 and found.isupper():
        return new.upper()
    if letters and letters[0].isupper():
        return new[:1].upper() + new[1:]
    return new.lower() if found == known.lower() else new


def variants(texts: Sequence[str], words: Sequence[str]) -> Iterator[tuple[str, str, bool, tuple[str, ...]]]:
    """For each pair of words of which the texts hold one: the word that stood there, the one put there, the new texts.

    Parameters
    ----------
    texts : sequence of str
        A text, or the two texts of a pair, in which the same words are swapped.

    Yields
    ------
    str, str, bool, tuple of str
        The bool says that both words were there, and changed places.
    """
    there = {word for text in texts for word in present(text, words)}
    for one, other in combinations(words, 2):
        if one in there or other in there:
            first, second = (one, other) if one in there else (other, one)
            yield first, second, {one, other} <= there, tuple(swapped(text, one, other) for text in texts)


@lru_cache(maxsize=1024)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the words, the longest first, whatever the case and the spaces within."""
    parts = sorted(words, key=lambda word: -len(word))
    return re.compile("|".join(map(_whole, parts)), re.IGNORECASE)


def _whole(word: str) -> str:
    inner = r"\s+".join(map(re.escape, word.split()))
    if UNSPACED.search(word):
        return inner
    return rf"(?<![{LETTER}]){inner}(?![{LETTER}])"
