"""A picture that was small and enlarged again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, as_picture, from_picture
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SIDES = (0.6, 0.5, 0.4, 0.3, 0.25)


def pixelate(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Shrink the image and enlarge it without smoothing."""
    height, width = pixels.shape[:2]
    share = SIDES[severity - 1]
    small = as_picture(pixels).resize((max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX)
    return from_picture(small.resize((width, height), Image.Resampling.BOX))


CORRUPTION = Corruption(
    Card(
        what="shrunk to 60 % down to 25 % of its sides, and enlarged again without smoothing",
        when="pictures come from thumbnails",
        cost="two resizes for each image",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="digital",
    apply=pixelate,
)
