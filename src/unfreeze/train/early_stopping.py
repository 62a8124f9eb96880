"""Early stopping: a phase ends after so many epochs without gain, and with the last phase the run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from unfreeze.train.hooks import Hook, LoopState


class EarlyStopping(Hook):
    """Ends a phase after `patience` epochs in a row that did not beat the best score of this phase.

    The count begins anew with each phase, so that a probe that has converged does not keep the other groups from
    learning. The best weights are the loop's affair. Without validation it never stops.

    Parameters
    ----------
    patience : int
        Epochs without gain; an equal score is no gain.
    phases : int
        How many phases the run has: in the last one the whole run is stopped.
    """

    sees_weights = False

    def __init__(self, patience: int, phases: int = 1) -> None:
        self.patience = patience
        self.phases = phases
        self.phase = -1
        self.stalled = 0
        self.best = -math.inf

    def before_phase(self, loop: LoopState) -> None:
        """Begin to count, unless an interrupted phase is being continued."""
        if loop.phase_index != self.phase:
            self.phase, self.stalled, self.best = loop.phase_index, 0, -math.inf

    def after_epoch(self, loop: LoopState) -> None:
        """Count the epoch if it brought nothing."""
        if not loop.validation:
            return
        gained = loop.score > self.best
        self.stalled = 0 if gained else self.stalled + 1
        self.best = loop.score if gained else self.best
        if self.stalled >= self.patience:
            loop.stop_phase = True
            loop.stop_run = loop.phase_index >= self.phases - 1

    def state(self) -> dict[str, Tensor]:
        """Phase, count and best score."""
        return {
            "counts": torch.tensor([self.phase, self.stalled]),
            "best": torch.tensor(self.best, dtype=torch.float64),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue the count."""
        self.phase, self.stalled = (int(count) for count in state["counts"])
        self.best = float(state["best"])
