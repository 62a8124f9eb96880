"""Slices: columns by whose values rows are told apart as groups, such as age, device or hospital.

They are no input of the model. What the groups are is decided from all rows of all splits by the column alone: no
target and no output is looked at, so that nothing leaks from the test into anything that is chosen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from unfreeze.data.manifest import Examples, Manifest, Slice
from unfreeze.data.values import as_number, as_text, is_missing, is_missing_target, plain

MOST = 12
"""Groups of a column that are told apart; beyond it the largest, or for numbers quarters."""

PARTS = 4
MOST_CLASSES = 10
"""Classes up to which training groups are those of each class apart."""

MISSING, OTHERS = "(missing)", "(other values)"
_LEADING_ZERO = re.compile(r"[+-]?0\d")


def cell(value: Any) -> str | None:
    """A value of a slice as text; None where there is none."""
    return None if is_missing(value) else as_text(plain(value)).strip() or None


def make_slice(column: str, values: Sequence[str | None]) -> Slice:
    """The groups of a column.

    Numbers of more than 12 distinct values are cut into quarters of the rows. Of other columns with more than 12
    values the 12 largest are groups, and all others one together.

    Parameters
    ----------
    values : sequence of str or None
        What `cell` gives for each row.
    """
    if _are_numbers(values):
        numbers = [number for value in values if (number := _number(value)) is not None]
        distinct = sorted(set(numbers))
        if len(distinct) > MOST:
            parts = np.linspace(0, 1, PARTS + 1)[1:-1]
            cuts = np.unique(np.quantile(numbers, parts, method="inverted_cdf"))
            # The largest number itself cuts nothing off.
            edges = tuple(float(cut) for cut in cuts if cut < distinct[-1]) or (distinct[-2],)
            made = Slice(column, _parts(edges), edges, numbers=True, distinct=len(distinct))
        else:
            made = Slice(column, tuple(map(as_text, distinct)), numbers=True, distinct=len(distinct))
    else:
        counts = Counter(value for value in values if value is not None)
        ordered = sorted(counts, key=lambda value: (-counts[value], value))
        made = Slice(column, tuple(ordered[:MOST]), distinct=len(ordered))
    found = set(groups_of(made, values))
    return Slice(**{**vars(made), "groups": (*made.groups, *(name for name in (OTHERS, MISSING) if name in found))})


def groups_of(slice_: Slice, values: Sequence[str | None]) -> list[str]:
    """The group of each value; one that the slice has not seen is among the other values."""
    if not slice_.numbers:
        known = set(slice_.groups)
        return [MISSING if value is None else value if value in known else OTHERS for value in values]
    numbers = [_number(value) for value in values]
    odd = [MISSING if value is None or is_missing_target(value) else OTHERS for value in values]
    if slice_.edges:
        places = np.searchsorted(slice_.edges, [0.0 if number is None else number for number in numbers])
        named = [slice_.groups[place] for place in places]
    else:
        known = set(slice_.groups)
        named = [name if (name := as_text(number)) in known else OTHERS for number in numbers]
    return [one if number is None else name for number, name, one in zip(numbers, named, odd, strict=True)]


def said(slice_: Slice, rows: Mapping[str, int]) -> str:
    """How a column became groups, for people; `rows` counts the rows of each group."""
    count = sum(rows.values())
    if slice_.edges:
        return (
            f"'{slice_.column}' has {slice_.distinct:,} different numbers: rows are told apart by quarters of it "
            f"({'; '.join(slice_.groups[: len(slice_.edges) + 1])})."
        )
    if slice_.distinct > MOST:
        share = 1 - rows.get(OTHERS, 0) / max(1, count)
        return (
            f"'{slice_.column}' has {slice_.distinct:,} values: the {MOST} largest groups ({share:.0%} of the rows) "
            "are told apart, all others are one group."
        )
    return f"'{slice_.column}' has {slice_.distinct:,} groups."


def training_groups(examples: Examples, manifest: Manifest, columns: Sequence[str] | None) -> list[str]:
    """The group of each row that remedies balance: slices crossed with each other and, for up to 10 classes, the class.

    A class that is rare within a group is what such remedies are for (Sagawa et al. 2020, arXiv:1911.08731).

    Parameters
    ----------
    columns : sequence of str, optional
        Which slices (training.groups); None: all of them.
    """
    names = [one.column for one in manifest.slices] if columns is None else columns
    parts: list[Sequence[str]] = [examples.meta[name] for name in names]
    if manifest.task == "classification" and len(manifest.labels) <= MOST_CLASSES:
        parts.append([str(target) for target in examples.targets])
    return [" · ".join(names) for names in zip(*parts, strict=True)]


def balancing(groups: Sequence[str]) -> list[float]:
    """Weights by which every group counts alike: inverse to its rows, 1 on average."""
    counts = Counter(groups)
    return [len(groups) / (len(counts) * counts[name]) for name in groups]


def _are_numbers(values: Sequence[str | None]) -> bool:
    """Whether all values are numbers, codes such as 00123 not among them."""
    present = [value for value in values if value is not None and not is_missing_target(value)]
    return bool(present) and all(_number(value) is not None and not _LEADING_ZERO.match(value) for value in present)


def _number(value: str | None) -> float | None:
    number = None if value is None else as_number(value)
    return None if number is None else number + 0.0  # -0 is 0


def _parts(edges: Sequence[float]) -> tuple[str, ...]:
    ends = [f"{edge:.6g}" for edge in edges]
    ends = ends if len(set(ends)) == len(ends) else [as_text(edge) for edge in edges]
    between = [f"over {low} to {high}" for low, high in pairwise(ends)]
    return (f"up to {ends[0]}", *between, f"over {ends[-1]}")
