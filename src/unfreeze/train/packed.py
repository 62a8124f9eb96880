"""Encoded texts one after the other, a few bytes a token: in memory while they are small, else in a mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from unfreeze.data import stored
from unfreeze.data.sequences import Array
from unfreeze.models.pretrained import Sample


@dataclass(frozen=True)
class Packed:
    """Samples of whole numbers, such as token ids.

    Parameters
    ----------
    names : of the tensors of each sample
    values : Array of shape (tokens, names), int32
    ends : Array of shape (samples,)
        Where each sample ends.
    """

    names: tuple[str, ...]
    values: Array
    ends: Array

    def sample(self, row: int) -> Sample:
        """One sample, of tensors of its own."""
        start = int(self.ends[row - 1]) if row else 0
        found = torch.from_numpy(self.values[start : self.ends[row]].T.astype(np.int64, order="C"))
        return dict(zip(self.names, found, strict=True))

    @property
    def bytes(self) -> int:
        """What they take in memory; pages of a mapped file are the system's."""
        return int(self.ends.nbytes + (self.values.nbytes if self.values.flags.owndata else 0))


def can_be_packed(sample: Sample) -> bool:
    """Whether its tensors are rows of whole numbers, as many in each."""
    tensors = list(sample.values())
    return all(t.dtype == torch.int64 and t.ndim == 1 and len(t) == len(tensors[0]) for t in tensors)


def packed_bytes(samples: int, numbers: float) -> int:
    """What samples will take in memory that hold so many numbers each."""
    size = int(samples * numbers * np.dtype(np.int32).itemsize)
    return samples * np.dtype(np.int64).itemsize + (size if size <= stored.LARGE else 0)


def pack(portions: Iterable[Sequence[Sample]], names: Sequence[str]) -> Packed:
    """Samples, which come some at a time, one after the other."""
    lengths: list[int] = []

    def arrays() -> Iterator[Array]:
        for samples in portions:
            lengths.extend(len(sample[names[0]]) for sample in samples)
            parts = (torch.cat([sample[name] for sample in samples]) for name in names)
            yield torch.stack(list(parts), dim=1).to(torch.int32).numpy()

    values = stored.stacked(arrays(), (len(names),), np.int32)
    return Packed(tuple(names), values, np.cumsum(lengths, dtype=np.int64))
