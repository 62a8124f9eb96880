"""A camera that moves towards the subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, as_picture, bounded, from_picture
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

ZOOMS = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
"""Zoom factors go from 1 to below the first, by the second."""


def zoom_blur(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """The mean of the image and of itself at growing zooms."""
    height, width = pixels.shape[:2]
    picture, factors = as_picture(pixels), np.arange(1.0, *ZOOMS[severity - 1])
    total = pixels.astype(np.float64)
    for factor in factors:
        side, top = width / factor, height / factor
        box = ((width - side) / 2, (height - top) / 2, (width + side) / 2, (height + top) / 2)
        total = total + from_picture(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return bounded(total / (len(factors) + 1))


CORRUPTION = Corruption(
    Card(
        what="the mean of zooms from 1 up to 1.1, and up to 1.3 at the strongest",
        when="the camera moves towards the subject",
        cost="about ten resizes for each image",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="blur",
    apply=zoom_blur,
)
