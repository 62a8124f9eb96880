"""Learning-rate schedules: one file each. A schedule spans one phase and starts anew with the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unfreeze.registry import Card, Registry


@dataclass(frozen=True)
class Schedule:
    """A factor on the rate as a pure function of progress.

    Parameters
    ----------
    card : Card
    factor : callable (progress in [0, 1] of the phase after warm-up, stalls) -> float in [0, 1]
        `stalls` counts the epochs of this phase so far that ended without gain on validation (for plateau).
    own_warmup : bool
        The schedule rises by itself (one-cycle) and gets the whole phase; the recipe's warm-up is not applied.
    """

    card: Card
    factor: Callable[[float, int], float]
    own_warmup: bool = False


SCHEDULES: Registry[Schedule] = Registry("schedule", "unfreeze.optim.schedules", "SCHEDULE")


def rate_factor(schedule: Schedule, step: int, steps: int, warmup: float, stalls: int = 0) -> float:
    """The factor for update `step` (from 0) of a phase of `steps` updates."""
    if schedule.own_warmup:
        return schedule.factor(step / max(1, steps), stalls)
    rising = int(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return schedule.factor((step - rising) / max(1, steps - rising), stalls)
