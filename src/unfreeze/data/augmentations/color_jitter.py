"""Change brightness, contrast and saturation."""

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


def color_jitter(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Three factors from [1 - strength, 1 + strength], 0.3 by default, in random order."""
    strength = number("color-jitter", argument, default=0.3, low=0, high=1)

    def change(image: Image, rng: Generator) -> Image:
        with seeded(rng) as v2:
            jittered: Image = v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength)(image)
        return jittered

    return change


AUGMENTATION = Augmentation(
    Card(
        what="changes brightness, contrast and saturation by up to 30 % (`color-jitter:0.3`)",
        when="light and cameras vary; not where colour or brightness is what counts",
        cost="three passes over the image",
        evidence="customary in supervised training; crucial in contrastive training (arXiv:2002.05709)",
        source="Howard 2013, arXiv:1312.5402",
    ),
    modality="image",
    level="input",
    make=color_jitter,
    order=30,
)
