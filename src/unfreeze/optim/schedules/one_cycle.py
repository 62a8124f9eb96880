"""Rises for three tenths of the phase, then falls to almost nothing."""

from __future__ import annotations

import math

from unfreeze.optim.schedules import Schedule
from unfreeze.registry import Card

RISING = 0.3
START = 1 / 25
END = START / 1e4


def one_cycle(progress: float, stalls: int) -> float:
    """From 1/25 to 1 and down to 1/250000, along half a cosine each."""
    if progress < RISING:
        return _between(START, 1.0, progress / RISING)
    return _between(1.0, END, (progress - RISING) / (1 - RISING))


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))


SCHEDULE = Schedule(
    Card(
        what="rises for three tenths of the phase, then falls to almost nothing",
        when="higher rates than usual are to be tried, or a new head is trained together with its body",
        cost="has its own warm-up; the recipe's is not applied",
        evidence="fastai's default for fine-tuning; the source's super-convergence is shown for SGD on images",
        source="Smith and Topin 2018, arXiv:1708.07120, with torch's shape",
    ),
    factor=one_cycle,
    own_warmup=True,
)
