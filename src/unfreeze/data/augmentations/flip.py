"""Mirror images left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._seeded import seeded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image


def flip(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Mirror with the given probability, one half by default."""
    share = number("flip", argument, default=0.5, low=0, high=1)

    def change(image: Image, rng: Generator) -> Image:
        with seeded(rng) as v2:
            flipped: Image = v2.RandomHorizontalFlip(share)(image)
        return flipped

    return change


AUGMENTATION = Augmentation(
    Card(
        what="mirrors half of the images left to right (`flip:0.5`)",
        when="left and right mean the same: animals, flowers; not text, digits, or organs with a side",
        cost="next to nothing",
        evidence="part of nearly every recipe since AlexNet",
        source="Krizhevsky et al. 2012",
    ),
    modality="image",
    level="input",
    make=flip,
    order=10,
)
