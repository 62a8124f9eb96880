"""Two random image operations of one strength."""

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

DRAWN = 2
STEPS = 100
"""From no strength to the strongest, fine enough for arguments with one decimal."""


def randaugment(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Two operations drawn from fourteen, of strength 9 of 10 by default; what they leave empty takes the mean colour.

    The strength is a share of each operation's range, as in the source. torchvision's own default, 9 of 30, is the
    strength 3 here; the ranges are torchvision's.
    """
    strength = number("randaugment", argument, default=9.0, low=0, high=10) / 10
    scale = {"magnitude": round(STEPS * strength), "num_magnitude_bins": STEPS + 1}

    def change(image: Image, rng: Generator) -> Image:
        with seeded(rng) as v2:
            for _ in range(DRAWN):
                # One by one, since the mean colour is another one after each.
                image = v2.RandAugment(1, **scale, interpolation="bilinear", fill=mean_colour(image))(image)
        return image

    return change


AUGMENTATION = Augmentation(
    Card(
        what="two random operations (turn, shear, shift, colour, contrast, …) of strength 9 of 10 (`randaugment:9`), "
        "which is 27 of 30 as torchvision counts",
        when="full fine-tuning or training from scratch, for many epochs",
        cost="two passes over the image; too strong for short runs and for images that mean something by their colour",
        evidence="about 1 point on ImageNet from scratch in the source",
        source="Cubuk et al. 2020, arXiv:1909.13719",
    ),
    modality="image",
    level="input",
    make=randaugment,
    order=40,
)
