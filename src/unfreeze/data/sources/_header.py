"""Whether the first row of a table holds names or data."""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.data.names import is_known_name


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Names are known words or unlike what stands below them; a first row that resembles its columns is data."""
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    if any(is_known_name(cell) for cell in first) or first == [str(i) for i in range(len(first))]:
        return True
    if not rest:
        return not any(_is_number(cell) for cell in first)
    named = [cell for cell in first if cell]
    if len(set(named)) < len(named):
        return False
    return not any(_resembles(cell, [row[i].strip() for row in rest if len(row) > i]) for i, cell in enumerate(first))


def _resembles(cell: str, below: list[str]) -> bool:
    """A number above numbers, a value that recurs below, or a sentence above sentences."""
    if not cell or not below:
        return False
    if _is_number(cell):
        return sum(_is_number(other) for other in below) >= 0.5 * len(below)
    if cell in below:
        return True
    words = sum(len(other.split()) for other in below) / len(below)
    return len(cell.split()) >= 5 and words >= 3


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
