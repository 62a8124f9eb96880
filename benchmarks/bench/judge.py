"""Whether two sides did equal work to equal quality, so that their times may be compared."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
"""One run as the results hold it."""

SEEDS = 3
"""Fewer on either side: quality is not judged."""

POINT = 0.01

NEARLY = 0.001
"""Share of the learning weights by which two sides may differ; it is said. (A prefix has a gate for each head here.)"""


@dataclass(frozen=True)
class Verdict:
    """What may be said of a comparison.

    Parameters
    ----------
    void : tuple of str
        Why the times must not be compared; empty if they may.
    said : tuple of str
        What has to be said beside them.
    """

    void: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.void:
            return f"**VOID**: {'; '.join(self.void)}"
        return "; ".join(self.said) or "equal"


def judge(ours: Sequence[Record], theirs: Sequence[Record]) -> Verdict:
    """The rule: the same rows, epochs, batch and number of learning parameters, and figures that agree.

    Figures agree when the means over seeds differ by at most 2 pooled standard deviations + 1 point, on validation and
    on test. unfreeze picks its best epoch on validation, peers take the last, so that only test is free of that choice.
    A better unfreeze voids nothing, but is said.
    """
    void, said = _work(ours[0], theirs[0])
    for split in ("validation", "test"):
        worse, better = _quality(split, _values(ours, split), _values(theirs, split))
        void += worse
        said += better
    return Verdict(tuple(void), tuple(dict.fromkeys(said)))


def _work(one: Record, other: Record) -> tuple[list[str], list[str]]:
    void, said = [], []
    for key, what in (("rows", "rows"), ("epochs", "epochs"), ("batch", "rows per update"), ("trainable", "weights")):
        here, there = one[key], other[key]
        if there is None and key in ("epochs", "batch"):
            continue
        if key == "trainable" and here != there and abs(here - there) <= NEARLY * there:
            said.append(f"{here - there:+,} weights learn")
        elif here != there:
            void.append(f"unequal {what}: {_number(here)} here, {_number(there)} there")
    if other["epochs"] is None and one["epochs"] is not None:
        said.append("solved until convergence, not by epochs")
    if other["extra"]:
        said.append(f"{other['extra']:,} weights of BERT's pooler not counted")
    if other["rates"] and other["rates"] != one["rates"]:
        said.append("other rates")
    return void, said


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _quality(split: str, here: list[float], there: list[float]) -> tuple[list[str], list[str]]:
    if not here or not there:
        return [], []
    if min(len(here), len(there)) < SEEDS:
        return [], [f"quality not judged: fewer than {SEEDS} seeds"]
    gain = statistics.mean(here) - statistics.mean(there)
    allowed = bound(here, there)
    if abs(gain) <= allowed:
        return [], []
    text = f"{100 * abs(gain):.1f} points on {split} (allowed {100 * allowed:.1f})"
    return ([f"unfreeze worse by {text}"], []) if gain < 0 else ([], [f"unfreeze better by {text}"])


def bound(here: Sequence[float], there: Sequence[float]) -> float:
    """The largest difference of means that still counts as equal: 2 pooled standard deviations + 1 point."""
    freedom = len(here) + len(there) - 2
    squares = sum((len(values) - 1) * statistics.variance(values) for values in (here, there) if len(values) > 1)
    return 2 * (squares / freedom) ** 0.5 + POINT if freedom > 0 else POINT


def _values(records: Sequence[Record], split: str) -> list[float]:
    return [record[split] for record in records if record[split] is not None]
