"""Banks of fog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

BANKS = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.75, 1.5), (3.0, 1.4))
"""Thickness, and how much weaker each finer octave of the fog is."""

SPREAD = 0.2
"""Standard deviation of the clouds around 0.5."""


def fog(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Lay a field of clouds over the image, and keep the brightest value where it was."""
    thickness, decay = BANKS[severity - 1]
    height, width = pixels.shape[:2]
    most = float(pixels.max())
    clouds = field(max(height, width), decay, rng)[:height, :width, None]
    return bounded((pixels + thickness * clouds) * most / (most + thickness))


def field(side: int, decay: float, rng: Generator) -> NDArray[Any]:
    """Clouds from 0 to 1 of shape (side, side): octaves of smooth noise, each finer one weaker by decay squared."""
    total = np.zeros((side, side))
    cells = 1
    while cells <= side:
        grid = rng.uniform(-1, 1, size=(cells + 1, cells + 1)).astype(np.float32)
        octave = Image.fromarray(grid).resize((side, side), Image.Resampling.BILINEAR)
        total += np.asarray(octave, dtype=np.float64) * decay ** (-2 * (cells.bit_length() - 1))
        cells *= 2
    # The same mean and spread whatever the decay, so that a stronger fog is not a thinner one.
    found: NDArray[Any] = np.clip(0.5 + SPREAD * (total - total.mean()) / max(float(total.std()), 1e-12), 0.0, 1.0)
    return found


CORRUPTION = Corruption(
    Card(
        what="a field of clouds over the image, which loses contrast",
        when="the camera stands outdoors",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C; the clouds are octaves of smooth noise where the source has a "
        "diamond-square fractal, and the fourth thickness is 2.75 instead of 2.5",
        source=SOURCE,
    ),
    modality="image",
    group="weather",
    apply=fog,
)
