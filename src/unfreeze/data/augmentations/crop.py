"""Cut out a random part of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._seeded import seeded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image

STRETCH = (3 / 4, 4 / 3)


def crop(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Cut out at least that share of the area, half by default, stretched a little, at a random place.

    torchvision draws anew what does not fit, so that larger parts are rarer (half gives 0.69 on average), and after
    ten draws takes the whole image, as it does with every seventh at 0.9.
    """
    least = number("crop", argument, default=0.5, low=0.01, high=1)

    def change(image: Image, rng: Generator) -> Image:
        # Of the image's own shape: a square of a wide image would be less than the share asked for.
        shapes = [stretch * image.width / image.height for stretch in STRETCH]
        with seeded(rng) as v2:
            top, left, height, width = v2.RandomResizedCrop.get_params(image, [least, 1.0], shapes)
        # The cut takes on the image's own shape, so that preprocessing treats it like any other image.
        shrink = math.sqrt(width * height / (image.width * image.height))
        size = [max(1, round(image.height * shrink)), max(1, round(image.width * shrink))]
        cut: Image = v2.functional.resized_crop(image, top, left, height, width, size)
        return cut

    return change


AUGMENTATION = Augmentation(
    Card(
        what="cuts out a random part of at least half of the area, stretched by up to a third (`crop:0.5`)",
        when="the object fills much of the image and may be cut; not where its place or size is what counts",
        cost="one resize per image",
        evidence="customary for ImageNet with shares from 0.08; milder here, since few data are cut too hard by that",
        source="Szegedy et al. 2015, arXiv:1409.4842",
    ),
    modality="image",
    level="input",
    make=crop,
    order=0,
)
