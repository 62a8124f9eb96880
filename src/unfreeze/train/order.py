"""The order in which rows are read: a pure function of seed, epoch and lengths.

Because it holds no state, a resumed run continues in the middle of an epoch by skipping batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]

MEGABATCH = 50
"""Batches within which rows of similar length are put together."""

TOKENS = 4096
"""Of a batch where nothing is learned, on a CPU: the fastest size, or nearly so, for texts of any length, in bfloat16
and in float32 (benchmarks/tokens_per_batch.py). More do not fit into its caches, fewer leave its units waiting."""

TOKENS_ELSEWHERE = 16_384
"""The same for accelerators, whose memory it does not fill."""

PASS, PASS_ELSEWHERE = 64, 2048
"""Tokens that take as long as what a pass costs whatever it holds: calls on a CPU, waiting units on an accelerator."""

TRAINING_PASS = 2 * PASS
"""The same for a pass forward and back on a CPU, after which gradients are collected."""


def generator(*key: int) -> np.random.Generator:
    """A random generator that depends on nothing but its key."""
    return np.random.default_rng(key)


def training_batches(
    lengths: Sequence[int], batch_size: int, *, key: tuple[int, ...], weights: Sequence[float] | None = None
) -> list[list[int]]:
    """Shuffled batches of rows of similar length.

    Parameters
    ----------
    lengths : sequence of int, one per row
    key : tuple of int
        Seed, phase, epoch.
    weights : sequence of float, optional
        Draw rows with replacement in these proportions (balanced sampling) instead of reading each once.
    """
    draw = generator(*key)
    count = len(lengths)
    if weights is None:
        order = draw.permutation(count)
    else:
        share = np.asarray(weights, dtype=np.float64)
        order = draw.choice(count, size=count, p=share / share.sum())
    sizes = np.asarray(lengths)
    batches: list[list[int]] = []
    for start in range(0, count, batch_size * MEGABATCH):
        mega = order[start : start + batch_size * MEGABATCH]
        mega = mega[np.argsort(-sizes[mega], kind="stable")]
        batches.extend(mega[at : at + batch_size].tolist() for at in range(0, len(mega), batch_size))
    shuffled = draw.permutation(len(batches))
    return [batches[index] for index in shuffled]


def reading_batches(
    lengths: Sequence[int], batch_size: int | None = None, *, tokens: int = TOKENS, fixed: int = PASS
) -> list[list[int]]:
    """Batches for evaluation: longest first, so that memory peaks at the start, and with little padding.

    Parameters
    ----------
    batch_size : int, optional
        Rows of a batch; None: as `tokens` says, in the batches that cost least, padding and passes together.
    tokens : int
        Tokens of a batch at most, padding included, unless one row has more.
    fixed : int
        Tokens that cost as much as a further batch does.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    if batch_size:
        return [order[at : at + batch_size].tolist() for at in range(0, len(order), batch_size)]
    found = []
    for start, end, rows in _stretches(np.asarray(lengths)[order], tokens, fixed):
        found += [order[at : min(at + rows, end)].tolist() for at in range(start, end, rows)]
    return found


def training_passes(rows: Sequence[int], lengths: Sequence[int], fixed: int = TRAINING_PASS) -> list[list[int]]:
    """The passes in which a CPU trains on a batch: its longest texts apart, where padding others to them costs more.

    The update is the same however many passes it takes, since the loss is normalised over the whole batch.

    Parameters
    ----------
    rows : sequence of int
    lengths : sequence of int
        Tokens of every row of the data.
    """
    sizes = [lengths[row] for row in rows]
    found = reading_batches(sizes, tokens=len(rows) * max(sizes), fixed=fixed)
    return [[rows[place] for place in part] for part in found] if len(found) > 1 else [list(rows)]


def _stretches(lengths: Array, tokens: int, fixed: int) -> list[tuple[int, int, int]]:
    """Where to cut rows in falling order of length: start, end, and rows of a batch of each stretch.

    A stretch is read at the width of its first row. The cheapest cuts are found from the shortest rows upwards, since
    what is best for the rest does not depend on what went before.
    """
    widths, counts = np.unique(np.maximum(1, lengths), return_counts=True)
    widths, edges = widths[::-1], np.concatenate([[0], np.cumsum(counts[::-1])])
    rows = np.maximum(1, tokens // widths)
    least, ends = np.zeros(len(edges)), np.zeros(len(widths), dtype=int)
    for first in reversed(range(len(widths))):
        held = edges[first + 1 :] - edges[first]
        costs = held * widths[first] + np.ceil(held / rows[first]) * fixed + least[first + 1 :]
        ends[first] = first + 1 + int(costs.argmin())
        least[first] = costs.min()
    found, first = [], 0
    while first < len(widths):
        found.append((int(edges[first]), int(edges[ends[first]]), int(rows[first])))
        first = ends[first]
    return found
