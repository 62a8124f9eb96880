"""Turn an image by a small random angle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._mean_colour import mean_colour
from unfreeze.data.augmentations._seeded import seeded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image


def rotate(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Turn by up to that many degrees either way, 15 by default; corners take the image's mean colour."""
    most = number("rotate", argument, default=15.0, low=0, high=180)

    def change(image: Image, rng: Generator) -> Image:
        with seeded(rng) as v2:
            turned: Image = v2.RandomRotation(most, interpolation="bilinear", fill=mean_colour(image))(image)
        return turned

    return change


AUGMENTATION = Augmentation(
    Card(
        what="turns by up to 15 degrees either way (`rotate:15`)",
        when="photos and scans that are not quite level; `rotate:180` for views from above and microscopes",
        cost="one resampling per image",
        evidence="helps where orientation varies in use; little for upright photos",
        source="Simard et al. 2003, doi:10.1109/ICDAR.2003.1227801",
    ),
    modality="image",
    level="input",
    make=rotate,
    order=20,
)
