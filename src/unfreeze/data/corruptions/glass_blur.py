"""A view through frosted glass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, blurred, bounded, moved, scale
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

STEPS = ((0.7, 1.0, 2), (0.9, 2.0, 1), (1.0, 2.0, 3), (1.1, 3.0, 2), (1.5, 4.0, 2))
"""Deviation of the blur, largest displacement, how often pixels are displaced."""

MOST = 3
"""Displacements that are drawn, whether they are used or not."""


def glass_blur(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Blur, take every pixel from a random place nearby, a few times, and blur again."""
    sigma, reach, times = STEPS[severity - 1]
    sigma, reach = sigma * scale(pixels), reach * scale(pixels)
    draws = rng.uniform(-1, 1, size=(MOST, 2, *pixels.shape[:2]))
    found = blurred(pixels, sigma)
    for down, right in draws[:times]:
        found = moved(found, reach * down, reach * right)
    return bounded(blurred(found, sigma))


CORRUPTION = Corruption(
    Card(
        what="pixels taken from up to 1 to 4 pixels (in 224) away, up to three times, between two slight blurs",
        when="the lens is wet, or stands behind patterned glass",
        cost="some ten milliseconds for an image of 224 pixels",
        evidence="one of the fifteen of ImageNet-C, with its parameters; pixels are drawn from nearby at once, where "
        "the source swaps neighbours one after the other",
        source=SOURCE,
    ),
    modality="image",
    group="blur",
    apply=glass_blur,
)
