"""Features on their way into the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from torch import Tensor

from unfreeze.stack.budget import NoRoom
from unfreeze.stack.features import FeatureStore
from unfreeze.stack.tables import Sink


@dataclass(eq=False)
class Filling:
    """Takes batches in any order of samples, each sample once.

    As a context manager it closes itself, and an exception inside leaves nothing behind.

    Parameters
    ----------
    stores, sinks : one each per kept tensor
        Stores that know their shape and have no table yet, and the tables that are being filled.
    keep : callable
        Takes over the finished stores and returns those to work with.
    undo : callable
        Removes what was written.
    """

    stores: Sequence[FeatureStore]
    sinks: Sequence[Sink]
    keep: Callable[[], Sequence[FeatureStore]]
    undo: Callable[[], None]

    def __post_init__(self) -> None:
        self._done = np.zeros(len(self.stores[0]), bool)
        self._kept: Sequence[FeatureStore] | None = None
        self.open = True

    @property
    def bytes(self) -> int:
        """What the features take."""
        return sum(store.bytes for store in self.stores)

    @property
    def in_memory(self) -> bool:
        """Whether they take it in memory; else on disk."""
        return self.stores[0].in_memory

    def add(self, samples: Sequence[int], features: Sequence[Tensor]) -> None:
        """Take in a batch: for each store a tensor of shape (rows, [padded length,] …).

        Raises
        ------
        NoRoom
            If the disk is full.
        ValueError
            If a sample was there before, or the features are not like the first ones.
        """
        if self._done[list(samples)].any() or len(set(samples)) < len(samples):
            raise ValueError("a sample was added twice")
        try:
            for store, sink, tensor in zip(self.stores, self.sinks, features, strict=True):
                for start, part in store.parts(samples, tensor):
                    sink.write(start, part)
        except OSError as error:
            raise self._full(error) from error
        self._done[list(samples)] = True

    def close(self) -> Sequence[FeatureStore]:
        """All samples are in: their features.

        Raises
        ------
        NoRoom
            If the disk is full.
        ValueError
            If a sample is missing.
        """
        if self._kept is None:
            if not self._done.all():
                self.discard()
                raise ValueError(f"{int((~self._done).sum())} of {len(self._done)} samples are missing")
            try:
                for store, sink in zip(self.stores, self.sinks, strict=True):
                    store.table = sink.close()
            except OSError as error:
                raise self._full(error) from error
            self._kept = self.keep()
            self.open = False
        return self._kept

    def discard(self) -> None:
        """Give up: nothing is left behind."""
        self.undo()
        self.sinks, self.open = (), False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self.open:
            self.discard()

    def _full(self, error: OSError) -> NoRoom:
        self.discard()
        return NoRoom(self.bytes, 0, unwritable(error))


def unwritable(error: OSError) -> str:
    """Why the disk could not be written, as the end of a sentence."""
    return f"but the cache could not be written: {error.strerror or error}"
