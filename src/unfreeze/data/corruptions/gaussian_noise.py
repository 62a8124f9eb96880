"""Noise of a sensor in low light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

DEVIATIONS = (0.08, 0.12, 0.18, 0.26, 0.38)


def gaussian_noise(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Add normal noise to every value."""
    return bounded(pixels + DEVIATIONS[severity - 1] * rng.standard_normal(pixels.shape))


CORRUPTION = Corruption(
    Card(
        what="normal noise on every value, with a standard deviation of 0.08 to 0.38 of the full range",
        when="pictures are taken in low light",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="noise",
    apply=gaussian_noise,
)
