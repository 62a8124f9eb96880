"""A lens that is out of focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded, convolved, scale
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

RADII = (3.0, 4.0, 6.0, 8.0, 10.0)


def defocus_blur(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Spread every point over a disc."""
    return bounded(convolved(pixels, disc(RADII[severity - 1] * scale(pixels))))


def disc(radius: float) -> NDArray[Any]:
    """A disc with a soft edge of one pixel, of odd sides."""
    reach = int(np.ceil(radius))
    places = np.arange(-reach, reach + 1)
    distance = np.hypot(*np.meshgrid(places, places))
    found: NDArray[Any] = np.maximum(np.clip(radius + 0.5 - distance, 0.0, 1.0), (distance == 0).astype(float))
    return found


CORRUPTION = Corruption(
    Card(
        what="every point spread over a disc, of a radius of 3 to 10 pixels in 224",
        when="the focus may miss the subject",
        cost="a Fourier transform for each image",
        evidence="one of the fifteen of ImageNet-C, with its radii; the disc's edge is soft by one pixel",
        source=SOURCE,
    ),
    modality="image",
    group="blur",
    apply=defocus_blur,
)
