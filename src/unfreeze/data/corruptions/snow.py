"""Falling snow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import (
    SIDE,
    SOURCE,
    Pixels,
    as_picture,
    bounded,
    convolved,
    from_picture,
    motion_kernel,
)
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

FALLS = (
    (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
"""Mean and deviation of the flakes' brightness, their size, the threshold below which there is none, radius and
deviation of their fall, how much of the image's own brightness stays."""

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def snow(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Whiten the image, and add flakes that fall along a line."""
    kept = FALLS[severity - 1][-1]
    fallen = _flakes(severity, rng)
    picture = as_picture(fallen).resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BOX)
    both = from_picture(picture) + from_picture(picture.rotate(180))
    grey = pixels @ GREY[:, None] if pixels.shape[-1] == 3 else pixels
    whitened = kept * pixels + (1 - kept) * np.maximum(pixels, grey * 1.5 + 0.5)
    return bounded(whitened + both)


def _flakes(severity: int, rng: Generator) -> NDArray[Any]:
    """Falling snow over a picture of 224 pixels, for which the source's lengths are; later it shrinks."""
    mean, deviation, size, least, radius, sigma, _ = FALLS[severity - 1]
    noise, angle = rng.standard_normal((SIDE, SIDE)).astype(np.float32), float(rng.uniform(-135, -45))
    side = SIDE / size
    box = ((SIDE - side) / 2, (SIDE - side) / 2, (SIDE + side) / 2, (SIDE + side) / 2)
    field = Image.fromarray(mean + deviation * noise).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    brightness = np.asarray(field, dtype=np.float64)
    flakes = np.where(brightness < least, 0.0, np.clip(brightness, 0.0, 1.0))
    return convolved(flakes, motion_kernel(radius, sigma, angle))


CORRUPTION = Corruption(
    Card(
        what="whitened, with flakes that fall along a line",
        when="the camera stands outdoors in winter",
        cost="a Fourier transform for each image",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="weather",
    apply=snow,
)
