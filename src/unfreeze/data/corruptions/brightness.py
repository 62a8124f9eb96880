"""More light."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)


def brightness(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Add to the largest channel of every pixel; hue and saturation stay."""
    value = pixels.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + ADDED[severity - 1], 1.0)
    return bounded(np.where(value > 0, pixels * brighter / np.maximum(value, 1e-6), brighter))


CORRUPTION = Corruption(
    Card(
        what="0.1 to 0.5 added to the value of hue, saturation and value",
        when="light changes over the day",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="weather",
    apply=brightness,
)
