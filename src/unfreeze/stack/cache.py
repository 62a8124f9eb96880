"""Features that were computed once, keyed by content: kept in this process and on disk, so that epochs, phases, seeds,
searches and later runs share them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from torch import Tensor

from unfreeze.machine import free_disk, free_memory
from unfreeze.stack.budget import Budget, NoRoom
from unfreeze.stack.disk_tier import Draft, open_entry
from unfreeze.stack.features import FeatureStore
from unfreeze.stack.filling import Filling, unwritable
from unfreeze.stack.memory_tier import MemoryTier
from unfreeze.stack.shelf import Damaged, Entry, Shelf, cache_folder, name_of
from unfreeze.stack.tables import MemorySink


def content_key(**parts: Any) -> str:
    """sha256 over everything that the features depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class FeatureCache:
    """Kept features in two tiers, each within its budget; the least recently used that nobody holds go first.

    Parameters
    ----------
    budget : Budget
        Of what is free at the moment when features are to be kept.
    folder : Path, optional
        Of the entries on disk; none: `cache_folder()`.
    """

    budget: Budget = field(default_factory=Budget)
    folder: Path | None = None
    _memory: MemoryTier = field(default_factory=MemoryTier)
    _fillings: WeakSet[Filling] = field(default_factory=WeakSet)
    _warnings: list[str] = field(default_factory=list)

    @property
    def _shelf(self) -> Shelf:
        return Shelf(self.folder or cache_folder())

    def find(self, key: str) -> Sequence[FeatureStore] | None:
        """The features under that key, from memory or else from disk; None if there are none or none are wanted.

        A damaged entry is removed, and `warnings` says so.
        """
        if self.budget.nothing:
            return None
        if self._memory.lend(key) is None:
            stores = self._open(key)
            if stores is None:
                return None
            self._memory.keep(key, stores)
        self._shelf.touch(key)
        return self._memory.lend(key)

    def filling(
        self,
        key: str,
        ragged: Sequence[bool],
        lengths: Sequence[int],
        example: Sequence[Tensor],
        *,
        persist: bool = True,
        description: Mapping[str, Any] | None = None,
    ) -> Filling:
        """Begin to keep features under that key: in memory if they fit, else on disk.

        Parameters
        ----------
        ragged : one per kept tensor
            Whether its second axis is the padded length.
        lengths : one per sample
        example : one per kept tensor
            The features of any batch, for their types and shapes: (rows, [padded length,] …).
        persist : bool
            Also write to disk what fits into memory, so that other processes and later runs find it.
        description : mapping, optional
            For people; `unfreeze cache` shows data, split, model and frontier.

        Raises
        ------
        NoRoom
            If they fit nowhere, or only onto a disk that cannot be written. Nothing is written then.
        """
        sizes = np.array(lengths, np.int64)
        stores = [FeatureStore.like(*each, sizes) for each in zip(ragged, example, strict=True)]
        if not stores or not len(sizes):
            raise ValueError("there is nothing to keep")
        needed = sum(store.bytes for store in stores)
        if self.budget.nothing:
            raise NoRoom(needed, 0)
        if self._memory.make_room(needed, self._memory_allowed()):
            filling = self._in_memory(key, stores, description or {}, persist)
        else:
            filling = self._on_disk(key, stores, description or {}, needed)
        self._fillings.add(filling)
        return filling

    def drop(self, key: str) -> None:
        """Forget what is under that key here and on disk, such as features that were found to be wrong."""
        self._memory.drop(key)
        self._shelf.remove(key)

    def clear(self) -> None:
        """Forget what this process keeps; entries on disk stay."""
        self._memory.clear()

    def entries(self) -> list[Entry]:
        """What is on disk, the least recently used first."""
        return self._shelf.entries()

    def warnings(self) -> list[str]:
        """What the user should know and was not told yet."""
        told, self._warnings = self._warnings, []
        return told

    @property
    def bytes(self) -> int:
        """Memory taken by what this process keeps."""
        return self._memory.bytes

    def _memory_allowed(self) -> int:
        """What entries may take; features that are just being computed will take theirs though it still looks free."""
        return self.budget.memory(free_memory() + self._memory.bytes) - self._promised(in_memory=True)

    def _disk_allowed(self) -> int:
        shelf, promised = self._shelf, self._promised(in_memory=False)
        return self.budget.disk(free_disk(shelf.folder) + shelf.bytes + promised) - promised

    def _promised(self, *, in_memory: bool) -> int:
        return sum(each.bytes for each in self._fillings if each.open and each.in_memory == in_memory)

    def _open(self, key: str) -> Sequence[FeatureStore] | None:
        try:
            return open_entry(self._shelf, key, self._memory_allowed())
        except Damaged as problem:
            self._shelf.remove(key)
            self._warnings.append(
                f"kept features {name_of(key)[:12]} are damaged ({problem}), so they are computed again"
            )
            return None

    def _keep(self, key: str, stores: Sequence[FeatureStore]) -> Sequence[FeatureStore]:
        self._memory.keep(key, stores)
        return self._memory.lend(key) or ()

    def _in_memory(
        self, key: str, stores: Sequence[FeatureStore], description: Mapping[str, Any], persist: bool
    ) -> Filling:
        def keep() -> Sequence[FeatureStore]:
            lent = self._keep(key, stores)
            if persist:
                self._persist(key, stores, description)
            return lent

        return Filling(stores, [MemorySink(store.table_shape) for store in stores], keep, lambda: None)

    def _on_disk(
        self, key: str, stores: Sequence[FeatureStore], description: Mapping[str, Any], needed: int
    ) -> Filling:
        draft: Draft | None = None
        try:
            self._require_disk(needed)
            draft = Draft(self._shelf, key, stores, description)
            draft.reserve()
        except OSError as error:
            if draft is not None:
                draft.discard()
            raise NoRoom(needed, 0, unwritable(error)) from error

        def keep() -> Sequence[FeatureStore]:
            self._publish(draft)
            return self._keep(key, stores)

        return Filling(stores, draft.sinks, keep, draft.discard)

    def _require_disk(self, needed: int) -> None:
        self._memory.release()
        allowed = self._disk_allowed()
        if not self._shelf.make_room(needed, allowed, self._memory.in_use):
            raise NoRoom(needed, max(0, allowed, self._memory_allowed()))

    def _persist(self, key: str, stores: Sequence[FeatureStore], description: Mapping[str, Any]) -> None:
        """Write an entry of the memory to disk too, if it fits there."""
        try:
            self._require_disk(sum(store.bytes for store in stores))
            draft = Draft(self._shelf, key, stores, description)
        except NoRoom:
            return
        except OSError as error:
            self._warn(error)
            return
        try:
            draft.save()
            self._publish(draft)
        except OSError as error:
            self._warn(error)
        finally:
            draft.discard()

    def _publish(self, draft: Draft) -> None:
        """Make an entry of a draft; where that fails, its mapped tables are there for this process all the same."""
        try:
            draft.publish()
        except OSError as error:
            self._warn(error)
            draft.discard()

    def _warn(self, error: OSError) -> None:
        self._warnings.append(f"features are not kept for later runs, {unwritable(error)}")


PROCESS_CACHE = FeatureCache()
