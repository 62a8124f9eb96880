"""Features kept in this process, keyed by content, so that phases, seeds and searches share them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from unfreeze.stack.features import FeatureStore

LIMIT_BYTES = 2 * 1024**3


def content_key(**parts: Any) -> str:
    """sha256 over everything that the features depend on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class FeatureCache:
    """The most recently used features, up to a limit in bytes."""

    limit: int = LIMIT_BYTES
    _entries: OrderedDict[str, Sequence[FeatureStore]] = field(default_factory=OrderedDict)

    def get(self, key: str, make: Callable[[], Sequence[FeatureStore]]) -> Sequence[FeatureStore]:
        """The features under that key, made if they are not there."""
        if key not in self._entries:
            self._entries[key] = make()
        self._entries.move_to_end(key)
        while len(self._entries) > 1 and self.bytes > self.limit:
            self._entries.popitem(last=False)
        return self._entries[key]

    def drop(self, key: str) -> None:
        """Forget what is under that key, such as features that were found to be wrong."""
        self._entries.pop(key, None)

    @property
    def bytes(self) -> int:
        """Memory taken by all entries."""
        return sum(store.bytes for stores in self._entries.values() for store in stores)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


PROCESS_CACHE = FeatureCache()
