"""Cut out a random part of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image

STRETCH = (3 / 4, 4 / 3)


def crop(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Cut out at least that share of the area, half by default, stretched a little, at a random place."""
    least = number("crop", argument, default=0.5, low=0.01, high=1)

    def change(image: Image, rng: Generator) -> Image:
        from PIL.Image import Resampling

        left, top, width, height = _box(image.size, least, rng)
        # The cut takes on the image's own shape, so that preprocessing treats it like any other image.
        shrink = math.sqrt(width * height / (image.width * image.height))
        size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        return image.resize(size, Resampling.BILINEAR, box=(left, top, left + width, top + height))

    return change


def _box(size: tuple[int, int], least: float, rng: Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height of the part."""
    share = rng.uniform(least, 1.0)
    stretch = math.exp(rng.uniform(math.log(STRETCH[0]), math.log(STRETCH[1])))
    width = min(size[0], max(1, round(size[0] * math.sqrt(share * stretch))))
    height = min(size[1], max(1, round(size[1] * math.sqrt(share / stretch))))
    left, top = int(rng.integers(size[0] - width + 1)), int(rng.integers(size[1] - height + 1))
    return left, top, width, height


AUGMENTATION = Augmentation(
    Card(
        what="cuts out a random part of at least half of the area, stretched by up to a third (`crop:0.5`)",
        when="the object fills much of the image and may be cut; not where its place or size is what counts",
        cost="one resize per image",
        evidence="the strongest single augmentation for ImageNet; milder here, since few data are cut too hard by 0.08",
        source="Szegedy et al. 2015, arXiv:1409.4842",
    ),
    modality="image",
    level="input",
    make=crop,
    order=0,
)
