"""Noise from the counting of photons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

PHOTONS = (60, 25, 12, 5, 3)


def shot_noise(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Replace every value by a Poisson count with that mean, of so many photons for white."""
    photons = PHOTONS[severity - 1]
    return bounded(rng.poisson(pixels.astype(np.float64) * photons) / photons)


CORRUPTION = Corruption(
    Card(
        what="Poisson noise, as if white were 60 photons down to 3",
        when="exposures are short",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="noise",
    apply=shot_noise,
)
