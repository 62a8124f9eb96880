"""Halves whenever validation stops gaining."""

from __future__ import annotations

from unfreeze.optim.schedules import Schedule
from unfreeze.registry import Card


def plateau(progress: float, stalls: int) -> float:
    """One half to the power of the epochs without gain."""
    return float(0.5**stalls)


SCHEDULE = Schedule(
    Card(
        what="halves after each epoch of the phase that ended without gain on validation",
        when="the length is not known beforehand and validation data are plentiful",
        cost="reacts to noise when validation data are few",
        evidence="customary with SGD; no study known here shows a gain over a fixed decay",
        source="torch's ReduceLROnPlateau, with factor 0.5 and no patience",
    ),
    factor=plateau,
)
