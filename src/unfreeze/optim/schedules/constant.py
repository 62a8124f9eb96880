"""Stays as it is."""

from __future__ import annotations

from unfreeze.optim.schedules import Schedule
from unfreeze.registry import Card


def constant(progress: float, stalls: int) -> float:
    """1 throughout."""
    return 1.0


SCHEDULE = Schedule(
    Card(
        what="stays as it is after warm-up",
        when="the length is not known beforehand, or weights are averaged (EMA)",
        cost="none; the last steps are as noisy as the first",
        evidence="behind linear decay at the same length (arXiv:2310.07831)",
        source="no single source",
    ),
    factor=constant,
)
