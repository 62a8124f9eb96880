"""Scales of charts: from values to places in the picture, and the round values that an axis shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from unfreeze.report.markup import number

SMALLEST = 1e-300
"""A range that is narrower has no round values in it: its parts would be zero."""


@dataclass(frozen=True)
class Scale:
    """Maps values to a stretch of the picture."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, max(value, _tiny(self))))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5, least: float = 0.0) -> list[float]:
        """Round values within the scale, at least so far apart."""
        return decades(self.low, self.high) if self.log else ticks(self.low, self.high, count, least)


def _tiny(scale: Scale) -> float:
    return scale.low if scale.log else -math.inf


def ticks(low: float, high: float, count: int = 5, least: float = 0.0) -> list[float]:
    """About `count` round values from low to high (steps of 1, 2, 2.5 or 5 times a power of ten, at least `least`)."""
    if not high - low > SMALLEST:
        return [low]
    rough = max((high - low) / max(1, count), least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, at most eight; the ends where there are fewer than two."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    found = [10.0**power for power in powers[:: -(-len(powers) // 8) or 1]]
    return found if len(found) > 1 else [low, high]


def around(values: Sequence[float], zero: bool = False) -> tuple[float, float]:
    """A range that holds the values with a little room; with `zero` it begins or ends at 0."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        low, high = (0.0, 1.0) if low == 0 else (low - 0.5 * abs(low), high + 0.5 * abs(high))
    room = 0.04 * (high - low)
    return (low if zero and low == 0 else low - room, high if zero and high == 0 else high + room)


def labelled(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Each tick with its words: as many decimal places as tell neighbours apart, and no more."""
    steps = [abs(b - a) for a, b in pairwise(ticks)]
    step, most = min(steps, default=0.0), max((abs(at) for at in ticks), default=0.0)
    if not step or most >= 1e6 or step < 1e-4:
        return [(at, number(at, 2 if not steps else 3)) for at in ticks]
    places = next(places for places in range(6) if abs(round(step, places) - step) < step * 1e-6)
    return [(at, f"{at:,.{places}f}".replace("-", "−")) for at in ticks]
