"""What a run has taken so far is noted while it learns, so that a killed session is counted too when it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from unfreeze.train.hooks import Hook, LoopState

EVERY = 10.0
"""Seconds between notes: what a session that is killed leaves uncounted, or an epoch where that is longer."""


class NotedCost(Hook):
    """Calls `note` at the end of an epoch, not more often than every few seconds."""

    sees_weights = False

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._noted = time.monotonic()

    def after_epoch(self, loop: LoopState) -> None:
        """Time to note it, perhaps."""
        if time.monotonic() - self._noted >= EVERY:
            self._noted = time.monotonic()
            self._note()
