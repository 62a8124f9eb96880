"""While an accelerator computes with one batch, the images of the next are read by the processor's cores.

Decoding is left to threads. Random changes draw from a generator that threads share, so that they are left to worker
processes, as torch's loader has them. Nothing else changes: what is drawn for a row depends on seed, epoch and row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from unfreeze.machine import cores
from unfreeze.models.pretrained import Sample
from unfreeze.train.feed import Feed

FORKS = sys.platform == "linux"
"""Elsewhere a process begins anew with importing torch, for every epoch."""


def ahead(feed: Feed, batches: Sequence[list[int]], epoch: int | None = None) -> Iterator[list[int]]:
    """Batches of row numbers one by one, while the feed reads those that follow.

    Parameters
    ----------
    epoch : int, optional
        That for which rows are augmented; None: they are not.
    """
    try:
        if epoch is not None and feed.changes_images and FORKS:
            for rows, samples in zip(batches, _by_processes(feed, batches, epoch), strict=True):
                feed.give(rows, epoch, samples)
                yield rows
        else:
            for number, rows in enumerate(batches):
                feed.expect(list(chain(*batches[number : number + 2])), epoch)
                yield rows
    finally:
        feed.forget()


def _by_processes(feed: Feed, batches: Sequence[list[int]], epoch: int) -> Iterator[list[Sample]]:
    loader = DataLoader(
        _Augmented(feed, epoch),
        batch_sampler=batches,
        num_workers=min(cores(), len(batches)),
        collate_fn=list,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # the loader draws from it, and must not from the one that training follows
    )
    for batch in loader:
        yield [{name: torch.from_numpy(numbers) for name, numbers in row.items()} for row in batch]


@dataclass(frozen=True)
class _Augmented(Dataset[dict[str, Any]]):
    """Rows as one epoch changes them; as numpy's arrays, since tensors would need as much shared memory."""

    feed: Feed
    epoch: int

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: tensor.numpy() for name, tensor in self.feed.augmented(row, self.epoch).items()}
