"""Two random image operations of one strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._operations import OPERATIONS
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image

DRAWN = 2


def randaugment(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Two operations drawn from fourteen, of strength 9 of 10 by default.

    timm and torchvision have the same, but draw from the process's global generators, which a resumed
    run could not continue exactly.
    """
    strength = number("randaugment", argument, default=9.0, low=0, high=10) / 10
    operations = list(OPERATIONS.values())

    def change(image: Image, rng: Generator) -> Image:
        for index in rng.integers(len(operations), size=DRAWN):
            image = operations[index](image, strength, int(rng.choice((-1, 1))))
        return image

    return change


AUGMENTATION = Augmentation(
    Card(
        what="two random operations (turn, shear, shift, colour, contrast, …) of strength 9 of 10 (`randaugment:9`)",
        when="full fine-tuning or training from scratch, for many epochs",
        cost="two passes over the image; too strong for short runs and for images that mean something by their colour",
        evidence="0.5 to 1.5 points on ImageNet from scratch in the source; less to be had from fine-tuning",
        source="Cubuk et al. 2020, arXiv:1909.13719",
    ),
    modality="image",
    level="input",
    make=randaugment,
    order=40,
)
