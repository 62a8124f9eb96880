"""Falls along half a cosine to zero."""

from __future__ import annotations

import math

from unfreeze.optim.schedules import Schedule
from unfreeze.registry import Card


def cosine(progress: float, stalls: int) -> float:
    """1 at the start, 0 at the end, flat at both."""
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULE = Schedule(
    Card(
        what="falls along half a cosine to zero",
        when="image models, whose recipes use it; a longer time near the highest rate than linear",
        cost="none; the length has to be known beforehand",
        evidence="close to linear, which is ahead overall in arXiv:2310.07831",
        source="Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts",
    ),
    factor=cosine,
)
