"""A camera that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, bounded, convolved, motion_kernel, scale
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

MOTIONS = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Radius and deviation."""


def motion_blur(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Smear the image along a line within 45 degrees of the horizontal."""
    angle = float(rng.uniform(-45, 45))
    radius, sigma = (length * scale(pixels) for length in MOTIONS[severity - 1])
    return bounded(convolved(pixels, motion_kernel(radius, sigma, angle)))


CORRUPTION = Corruption(
    Card(
        what="a smear along a line, which fades over 3 to 15 pixels in 224",
        when="the camera or the subject moves",
        cost="a Fourier transform for each image",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="blur",
    apply=motion_blur,
)
