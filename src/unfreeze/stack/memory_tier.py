"""The features that this process keeps: in its own memory, or mapped from disk."""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

from unfreeze.stack.budget import to_leave
from unfreeze.stack.features import FeatureStore


@dataclass
class _Kept:
    """An entry. What it lends out are copies without data of their own, so that it sees whether anybody is left."""

    stores: Sequence[FeatureStore]
    lent: WeakSet[FeatureStore] = field(default_factory=WeakSet)

    @property
    def bytes(self) -> int:
        return sum(store.bytes for store in self.stores if store.in_memory)


@dataclass
class MemoryTier:
    """Entries by key, the least recently used first."""

    _entries: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)

    def keep(self, key: str, stores: Sequence[FeatureStore]) -> None:
        """Take in an entry."""
        self._entries[key] = _Kept(stores)

    def lend(self, key: str) -> Sequence[FeatureStore] | None:
        """The stores under that key; as long as somebody holds one of them, the entry is in use."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        kept = self._entries[key]
        copies = [copy.copy(store) for store in kept.stores]
        kept.lent.update(copies)
        return copies

    def drop(self, key: str) -> None:
        """Forget an entry."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    @property
    def bytes(self) -> int:
        """Memory taken; entries that are mapped from disk take none of their own."""
        return sum(kept.bytes for kept in self._entries.values())

    @property
    def in_use(self) -> set[str]:
        """Keys of entries that somebody holds."""
        return {key for key, kept in self._entries.items() if kept.lent}

    def make_room(self, needed: int, allowed: int) -> bool:
        """Whether so many bytes fit; the least recently used entries that nobody holds are forgotten for it."""
        if needed > allowed:
            return False
        leaving = self._leaving(needed, allowed)
        if leaving is None:
            gc.collect()  # a finished run in a reference cycle holds nothing
            leaving = self._leaving(needed, allowed)
        for key in leaving or ():
            self.drop(key)
        return leaving is not None

    def release(self) -> None:
        """Let go of what is mapped and nobody holds: space on a disk is free only then."""
        for key in self._entries.keys() - self.in_use:
            if not self._entries[key].bytes:
                self.drop(key)

    def _leaving(self, needed: int, allowed: int) -> list[str] | None:
        kept = [(key, entry.bytes) for key, entry in self._entries.items() if entry.bytes]
        return to_leave(kept, needed, allowed, self.in_use)
