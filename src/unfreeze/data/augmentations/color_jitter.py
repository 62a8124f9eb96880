"""Change brightness, contrast and saturation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.registry import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from PIL.Image import Image


def color_jitter(argument: str | None) -> Callable[[Image, Generator], Image]:
    """Three factors from [1 - strength, 1 + strength], 0.3 by default, in random order."""
    strength = number("color-jitter", argument, default=0.3, low=0, high=1)

    def change(image: Image, rng: Generator) -> Image:
        from PIL import ImageEnhance

        changes = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for index in rng.permutation(len(changes)):
            image = changes[index](image).enhance(rng.uniform(1 - strength, 1 + strength))
        return image

    return change


AUGMENTATION = Augmentation(
    Card(
        what="changes brightness, contrast and saturation by up to 30 % (`color-jitter:0.3`)",
        when="light and cameras vary; not where colour or brightness is what counts",
        cost="three passes over the image",
        evidence="a small gain in supervised training; essential in contrastive training (arXiv:2002.05709)",
        source="Howard 2013, arXiv:1312.5402",
    ),
    modality="image",
    level="input",
    make=color_jitter,
    order=30,
)
