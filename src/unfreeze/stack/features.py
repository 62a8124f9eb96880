"""Kept features of many samples: one table per split, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.stack.tables import Bytes


@dataclass(eq=False)
class FeatureStore:
    """The features of samples 0 … n-1, each of shape ([length,] …), in the type in which they were computed.

    They stand one sample after the other in a table of bytes, in memory or mapped from a file, so that what they take
    follows the tokens that are there and not the longest text.

    Parameters
    ----------
    ragged : bool
        Whether each sample has as many parts as it is long; else it has one.
    dtype, shape
        Of one part.
    lengths : array of int, one per sample
    table : array of shape (parts, bytes of a part), optional
        Of ragged features the last row is a part of zeros, which is what padding reads.
    in_memory : bool
        Whether the table is this process's own memory; else it is mapped from a file.
    """

    ragged: bool
    dtype: torch.dtype
    shape: tuple[int, ...]
    lengths: NDArray[np.int64]
    table: Bytes | None = None
    in_memory: bool = True

    def __post_init__(self) -> None:
        parts = self.lengths if self.ragged else np.ones_like(self.lengths)
        self._ends = np.cumsum(parts)
        self._starts = self._ends - parts

    @classmethod
    def like(cls, ragged: bool, example: Tensor, lengths: NDArray[np.int64]) -> FeatureStore:
        """An empty one for features such as `example`: (rows, [padded length,] …)."""
        return cls(ragged, example.dtype, tuple(example.shape[1 + ragged :]), lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def table_shape(self) -> tuple[int, int]:
        """Rows and bytes per row of its table."""
        return int(self._ends[-1]) + self.ragged, self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self) -> int:
        """What the table takes, in memory or on disk."""
        rows, width = self.table_shape
        return rows * width

    def parts(self, samples: Sequence[int], features: Tensor) -> Iterator[tuple[int, Bytes]]:
        """Where in the table each row of a padded batch belongs, and its bytes.

        Raises
        ------
        ValueError
            If the features are not of this store's type or shape, or shorter than a sample is.
        """
        if features.dtype != self.dtype or features.shape[1 + self.ragged :] != self.shape:
            raise ValueError(
                f"expected features of {self.dtype} and shape {self.shape}, "
                f"found {features.dtype} and {tuple(features.shape[1 + self.ragged :])}"
            )
        lead = features.shape[: 1 + self.ragged]
        flat = features.detach().cpu().reshape(*lead, self.table_shape[1] // self.dtype.itemsize)
        rows = flat.contiguous().view(torch.uint8).numpy()
        for row, sample in zip(rows, samples, strict=True):
            start, stop = int(self._starts[sample]), int(self._ends[sample])
            part = row[: stop - start] if self.ragged else row[None]
            if len(part) != stop - start:
                raise ValueError(f"expected {stop - start} parts of sample {sample}, found {len(part)}")
            yield start, part

    def batch(self, samples: Sequence[int]) -> Tensor:
        """The features of these samples, padded with zeros on the right: (rows, [longest,] …)."""
        assert self.table is not None, "the features come before batch()"
        rows = np.asarray(samples, dtype=np.int64)
        if self.ragged:
            starts, lengths = self._starts[rows], self.lengths[rows]
            steps = np.arange(lengths.max(initial=0))
            rows = np.where(steps < lengths[:, None], starts[:, None] + steps, len(self.table) - 1)
        # numpy copies whole rows of bytes; torch's index_select takes two to four times as long for such batches.
        taken = torch.from_numpy(self.table.take(rows, axis=0).reshape(-1))
        return taken.view(self.dtype).view(*rows.shape, *self.shape)
