"""Falls to a tenth at half time and at three quarters."""

from __future__ import annotations

from unfreeze.optim.schedules import Schedule
from unfreeze.registry import Card


def step(progress: float, stalls: int) -> float:
    """1, then 0.1 from half of the phase, then 0.01 from three quarters."""
    if progress < 0.5:
        return 1.0
    return 0.1 if progress < 0.75 else 0.01


SCHEDULE = Schedule(
    Card(
        what="falls to a tenth at half time, and again at three quarters",
        when="to repeat older image recipes",
        cost="none; the loss falls in two visible jumps",
        evidence="what ResNets were trained with; smooth decay is as good or better",
        source="He et al. 2016, arXiv:1512.03385, section 4.2",
    ),
    factor=step,
)
