"""How one of many heads fared, as `Progressed` tells it of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Course:
    """The best epoch so far, and whether training is over.

    Parameters
    ----------
    best : float
        The selection metric of the best epoch, turned so that more is better.
    stalls : int
        Epochs in a row that did not beat it.
    diverged : int
        The epoch in which the loss or a weight was no longer finite; 0 if all were.
    """

    best: float = -math.inf
    best_epoch: int = 0
    stalls: int = 0
    stopped: str = ""
    diverged: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more is learned."""
        return bool(self.stopped or self.diverged)

    @property
    def figures(self) -> dict[str, Any]:
        """Those of the best epoch."""
        return self.history[self.best_epoch - 1]

    def take(self, figures: dict[str, Any], score: float, patience: int | None) -> bool:
        """Take an epoch's figures in; whether it is the best so far. Of equal ones the later is: it has seen more."""
        self.history.append(figures)
        self.stalls = 0 if score > self.best else self.stalls + 1
        if patience and self.stalls >= patience:
            self.stopped = f"stopped early after epoch {figures['epoch']}"
        if score >= self.best or len(self.history) == 1:
            self.best, self.best_epoch = score, figures["epoch"]
            return True
        return False
