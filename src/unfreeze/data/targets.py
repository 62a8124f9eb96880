"""Which task a target column calls for, and its cells as targets of that task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from unfreeze.data.manifest import Target
from unfreeze.data.values import as_number, is_missing, is_missing_target, nested, plain, whole_characters
from unfreeze.errors import DataError, nearest

TASKS = ("classification", "multilabel", "regression")
_SEPARATORS = ("|", ";", ",")
_LISTS = (list, tuple, set, frozenset)


def recognise_task(columns: Sequence[Sequence[Any]], asked: str | None, separator: str | None) -> tuple[str, str]:
    """The task and the reason for it.

    Parameters
    ----------
    columns : the target columns
    """
    if asked is not None:
        if asked not in TASKS:
            raise DataError(f"Unknown task '{asked}'. {nearest(asked, TASKS)}")
        return asked, "named in the recipe"
    if len(columns) > 1:
        return "multilabel", f"{len(columns)} target columns"
    values = [value for value in columns[0] if not is_missing_target(value)]
    if not values:
        raise DataError("The target column is empty in every row.")
    if any(isinstance(value, _LISTS) for value in values):
        return "multilabel", "the targets are lists"
    if separator:
        return "multilabel", f"the recipe names '{separator}' as the separator of labels"
    numbers = [number for value in values if (number := as_number(value)) is not None]
    if numbers and all(not isinstance(value, bool) and _is_number(value) for value in values):
        return _numeric(numbers)
    found = find_separator([str(value) for value in values])
    if found:
        return "multilabel", f"cells hold several labels, separated by '{found}'"
    return "classification", f"{len(set(map(str, values)))} distinct labels"


def _is_number(value: Any) -> bool:
    """Also infinite ones, which are numbers though no targets."""
    return as_number(value) is not None or str(value).strip().lower().lstrip("+-") in ("inf", "infinity")


def _numeric(values: list[float]) -> tuple[str, str]:
    distinct = sorted(set(values))
    count = len(distinct)
    if any(value != int(value) for value in distinct):
        return "regression", f"numbers with fractions ({count} distinct)"
    if count <= 20 and 2 * count <= len(values):
        return "classification", f"whole numbers with few ({count}) distinct values"
    if distinct[0] in (0, 1) and distinct[-1] - distinct[0] == count - 1 and len(values) >= 5 * count:
        return "classification", f"whole numbers from {int(distinct[0])} to {int(distinct[-1])} without gaps"
    return "regression", f"whole numbers with many ({count}) distinct values in {len(values)} rows"


def find_separator(values: Sequence[str]) -> str | None:
    """What separates several labels within cells: its parts recur in other cells, as no phrase with a comma does."""
    cells = sorted({value.strip() for value in values})
    for separator in _SEPARATORS:
        several = [cell for cell in cells if separator in cell.strip(separator)]
        if not several:
            continue
        seen = Counter(part.strip() for cell in cells for part in set(cell.split(separator)))
        parts = {part.strip() for cell in several for part in cell.split(separator) if part.strip()}
        recurring = sum(seen[part] >= 2 for part in parts)
        if recurring >= 0.8 * len(parts) and len(seen) < len(cells) and max(map(len, parts)) <= 40:
            return separator
    return None


def read_targets(
    columns: Sequence[Sequence[Any]], column_names: Sequence[str], task: str, separator: str | None
) -> list[Target | str | None]:
    """One target per row; None when missing. A cell that does not fit raises nothing: see `unfit`."""
    if task == "multilabel":
        return list(_label_sets(columns, column_names, separator))
    if len(columns) > 1:
        raise DataError(f"Task {task} has one target column; {len(columns)} were named: {', '.join(column_names)}.")
    if task == "regression":
        return [
            None if is_missing_target(v) else as_number(v) if as_number(v) is not None else unfit(v) for v in columns[0]
        ]
    whole = _all_whole([value for value in columns[0] if not is_missing_target(value)])
    return [None if is_missing_target(value) else _class(value, whole) for value in columns[0]]


class Unfit(str):
    """Why a cell cannot be a target; stands in the target's place until its row is quarantined."""

    __slots__ = ()


def unfit(value: Any) -> Unfit:
    """The reason for a cell that is no number."""
    return Unfit(f"target {str(plain(value))[:60]!r} is not a finite number")


def _class(value: Any, whole: bool) -> str:
    return Unfit(f"target {nested(value)}") if isinstance(value, dict) else _label(value, whole)


def _all_whole(values: list[Any]) -> bool:
    numbers = [None if isinstance(value, bool) else as_number(value) for value in values]
    return all(number is not None and number == int(number) for number in numbers)


def _label(value: Any, whole: bool) -> str:
    """A class name: 1.0 and "1.0" are "1" where all labels are whole numbers; lists of one are that one."""
    if isinstance(value, _LISTS):
        return _label(next(iter(value)), whole) if len(value) == 1 else str(list(value))
    number = as_number(value) if whole else None
    text = str(value).strip()
    return str(int(number)) if number is not None and not text.isdigit() else whole_characters(str(value))


def _label_sets(
    columns: Sequence[Sequence[Any]], column_names: Sequence[str], separator: str | None
) -> list[tuple[str, ...] | Unfit | None]:
    if len(columns) > 1:
        return [_flags(row, column_names) for row in zip(*columns, strict=True)]
    values = columns[0]
    texts = [str(value) for value in values if isinstance(value, str) and not is_missing_target(value)]
    separator = separator or find_separator(texts)
    return [_several(value, separator) for value in values]


def _several(value: Any, separator: str | None) -> tuple[str, ...] | None:
    if isinstance(value, _LISTS):
        parts = [_label(part, True) for part in value if not is_missing_target(part)]
    elif is_missing_target(value):
        return None
    elif separator and isinstance(value, str):
        parts = whole_characters(value).split(separator)
    else:
        parts = [_label(value, True)]
    return tuple(sorted({part.strip() for part in parts if part.strip()}))


def _flags(row: Sequence[Any], column_names: Sequence[str]) -> tuple[str, ...] | Unfit | None:
    if any(is_missing(value) for value in row):
        return None
    numbers = [float(v) if isinstance(v, bool) else as_number(v) for v in row]
    odd = [name for name, number in zip(column_names, numbers, strict=True) if number not in (0.0, 1.0)]
    if odd:
        return Unfit(f"column '{odd[0]}' is neither 0 nor 1")
    return tuple(sorted(name for name, number in zip(column_names, numbers, strict=True) if number))
