"""Less contrast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

KEPT = (0.4, 0.3, 0.2, 0.1, 0.05)


def contrast(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Draw every channel towards its mean."""
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return bounded((pixels - mean) * KEPT[severity - 1] + mean)


CORRUPTION = Corruption(
    Card(
        what="40 % of the contrast is kept, and 5 % at the strongest",
        when="light is flat, or the picture faded",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="digital",
    apply=contrast,
)
