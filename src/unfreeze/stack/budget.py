"""How much the kept features may take, and which of them go first. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from unfreeze.errors import RecipeError

MEMORY_SHARE = 0.4
DISK_SHARE = 0.1

CEILING = 0.9
"""Whatever was asked for, so much of what is free may be taken and no more: the run itself needs some."""

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


class NoRoom(Exception):
    """The features fit neither into memory nor onto the disk, or the disk could not be written.

    Parameters
    ----------
    needed, allowed : int
        Bytes that they take, and the most that may be taken in one place.
    """

    def __init__(self, needed: int, allowed: int, why: str = "") -> None:
        self.needed, self.allowed = needed, allowed
        reason = why or f"of which {in_words(allowed)} are allowed (training.cache_budget)"
        super().__init__(f"their features would take {in_words(needed)}, {reason}")


@dataclass(frozen=True)
class Budget:
    """Shares of the free memory and of the free disk, or a number of bytes in each of the two."""

    memory_share: float = MEMORY_SHARE
    disk_share: float = DISK_SHARE
    most: int | None = None

    @property
    def nothing(self) -> bool:
        """Whether features are not to be kept at all."""
        return self.most == 0 if self.most is not None else self.memory_share == self.disk_share == 0

    def memory(self, free: int) -> int:
        """Bytes that may be taken in memory when so many are free."""
        return self._of(self.memory_share, free)

    def disk(self, free: int) -> int:
        """Bytes that may be taken on a disk when so many are free."""
        return self._of(self.disk_share, free)

    def _of(self, share: float, free: int) -> int:
        if self.most is None:
            return int(min(share, CEILING) * free)
        return min(self.most, int(CEILING * free))


def parse_budget(value: str | float | None) -> Budget:
    """The budget that a recipe asks for: "2GB", a share such as 0.3, "disk" (nothing in memory), or None.

    Raises
    ------
    RecipeError
        If it is none of these.
    """
    if value is None:
        return Budget()
    if value == "disk":
        return Budget(memory_share=0.0)
    number, unit = _number_and_unit(value)
    if unit in UNITS:
        return Budget(most=int(number * UNITS[unit]))
    if unit or number >= 1:
        raise RecipeError(f"expected a share below 1 such as 0.3, a size such as 2GB, disk, or 0. Found '{value}'.")
    return Budget(number, number)


def parse_size(value: str) -> int:
    """Bytes of a size such as "6GB".

    Raises
    ------
    RecipeError
        If it is none, or nothing.
    """
    number, unit = _number_and_unit(value)
    if unit not in UNITS or number <= 0:
        raise RecipeError(f"expected a size such as 6GB or 800MB. Found '{value}'.")
    return int(number * UNITS[unit])


def _number_and_unit(value: str | float) -> tuple[float, str]:
    """ "2.5 GB" as 2.5 and "gb"; the unit is "?" where it is no such thing."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", str(value).strip().lower())
    return (float(found[1]), found[2]) if found else (0.0, "?")


def to_leave(
    kept: Iterable[tuple[str, int]], needed: int, allowed: int, in_use: Collection[str] = ()
) -> list[str] | None:
    """Which keys have to go so that `needed` bytes fit; None if they do not fit even then.

    Parameters
    ----------
    kept : iterable of (key, bytes)
        What there is, the least recently used first.
    in_use : collection of str
        Keys that stay: forgetting them would free nothing.
    """
    kept = list(kept)
    total = needed + sum(size for _, size in kept)
    leaving: list[str] = []
    for key, size in kept:
        if total <= allowed:
            break
        if key not in in_use:
            leaving.append(key)
            total -= size
    return leaving if total <= allowed else None


def in_words(count: float) -> str:
    """ "2.4 GB"; units are powers of 1000."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 1000:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:,.1f} TB"
