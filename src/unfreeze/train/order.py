"""The order in which rows are read: a pure function of seed, epoch and lengths.

Because it holds no state, a resumed run continues in the middle of an epoch by skipping batches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEGABATCH = 50
"""Batches within which rows of similar length are put together."""

TOKENS = 4096
"""Of a batch where nothing is learned, on a CPU: the fastest size, or nearly so, for texts of any length, in bfloat16
and in float32 (benchmarks/tokens_per_batch.py). More do not fit into its caches, fewer leave its units waiting."""

TOKENS_ELSEWHERE = 16_384
"""The same for accelerators, whose memory it does not fill."""


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


def reading_batches(lengths: Sequence[int], batch_size: int | None = None, tokens: int = TOKENS) -> list[list[int]]:
    """Batches for evaluation: longest first, so that memory peaks at the start and padding is least.

    Parameters
    ----------
    batch_size : int, optional
        Rows of a batch; None: as many as have so many tokens together.
    tokens : int
        Tokens of a batch, padding included, unless one row has more.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        rows = batch_size or max(1, tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches
