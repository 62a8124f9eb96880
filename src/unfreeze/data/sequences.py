"""Sequences that hold little: values made when they are asked for, rows of another sequence, several below each other.

What is in memory as a list stays a list, since a small table is quickest so; what lies on disk is looked at row by row.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, TypeVar, overload

import numpy as np

Array = np.ndarray[Any, Any]
T = TypeVar("T")
S = TypeVar("S")
_PORTION = 4096


class Lazy(Sequence[T]):
    """A sequence by its length and `at(row)`. A slice of it is a list; it equals any sequence of equal values."""

    @abstractmethod
    def at(self, row: int) -> T:
        """The value of a row from 0 to the length, which nobody checks here."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self.at(row) for row in range(*index.indices(len(self)))]
        row = operator.index(index)
        row = row + len(self) if row < 0 else row
        if not 0 <= row < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.at(row)

    def __iter__(self) -> Iterator[T]:
        return map(self.at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"<{len(self)} values: {shown}{', …' if len(self) > 3 else ''}>"


class Made(Lazy[T]):
    """Values that a function makes of their row."""

    def __init__(self, count: int, at: Callable[[int], T]) -> None:
        self._count, self._at = count, at

    def __len__(self) -> int:
        return self._count

    def at(self, row: int) -> T:
        """What the function makes of a row."""
        return self._at(row)


class Each(Lazy[T]):
    """What a function makes of each value of another sequence, whenever it is asked for."""

    def __init__(self, function: Callable[[Any], T], values: Sequence[Any]) -> None:
        self._function, self._values, self._read = function, values, reader(values)

    def __len__(self) -> int:
        return len(self._values)

    def at(self, row: int) -> T:
        """What the function makes of a row's value."""
        return self._function(self._read(row))

    def __iter__(self) -> Iterator[T]:
        return map(self._function, self._values)


class Picked(Lazy[T]):
    """Some rows of another sequence, in the order of their numbers in `rows`."""

    def __init__(self, values: Sequence[T], rows: Array) -> None:
        self.values, self.rows, self._read = values, rows, reader(values)

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, row: int) -> T:
        """The value of the row that is picked here."""
        return self._read(int(self.rows[row]))

    def __iter__(self) -> Iterator[T]:
        portions = (self.rows[start : start + _PORTION].tolist() for start in range(0, len(self), _PORTION))
        return map(self._read, chain.from_iterable(portions))


class Below(Lazy[T]):
    """Sequences one below the other."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self._parts, self._ends, self._reads = parts, list(accumulate(map(len, parts))), list(map(reader, parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def at(self, row: int) -> T:
        """The value of a row, of the part that it lies in."""
        part = bisect_right(self._ends, row)
        return self._reads[part](row - self._ends[part - 1] if part else row)

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._parts)


def reader(values: Sequence[T]) -> Callable[[int], T]:
    """What gives the value of a row, the quickest way."""
    return values.at if isinstance(values, Lazy) else values.__getitem__


def origins(place: str, numbers: Iterable[int]) -> Sequence[str]:
    """Where rows came from, such as "a.csv, line 12" for the place "a.csv, line", made when it is asked for."""
    known = np.fromiter(numbers, dtype=np.int64)
    return Made(len(known), lambda row: f"{place} {known[row]}")


def picked(values: Sequence[T] | Array, rows: Array) -> Any:
    """Some rows of a list (as a list), of an array (as an array), or of any other sequence (as `Picked`)."""
    if isinstance(values, np.ndarray):
        return values[rows]
    if isinstance(values, list):
        return [values[row] for row in rows.tolist()]
    if isinstance(values, Picked):
        return Picked(values.values, values.rows[rows])
    return Picked(values, rows)


def below(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    """Sequences one below the other: a list if all are lists."""
    if len(parts) == 1:
        return parts[0]
    return list(chain.from_iterable(parts)) if all(isinstance(part, list) for part in parts) else Below(parts)


def each(function: Callable[[S], T], values: Sequence[S]) -> Sequence[T]:
    """What a function makes of each value; for what is no list when it is asked for, and again each time."""
    return list(map(function, values)) if isinstance(values, list) else Each(function, values)


def side_by_side(first: Sequence[S], second: Sequence[T]) -> Sequence[tuple[S, T]]:
    """Pairs of two sequences of equal length."""
    if isinstance(first, list) and isinstance(second, list):
        return list(zip(first, second, strict=True))
    one, other = reader(first), reader(second)
    return Made(len(first), lambda row: (one(row), other(row)))


def shared(values: Iterable[T]) -> list[T]:
    """A list whose equal texts, and tuples of texts, are one object: a pointer a row where few are distinct."""
    known: dict[Any, Any] = {}
    return [known.setdefault(value, value) if _is_shared(value) else value for value in values]


def _is_shared(value: object) -> bool:
    """Equal values that are no texts can differ all the same: 1, 1.0 and True."""
    return type(value) is str or (type(value) is tuple and all(type(part) is str for part in value))
