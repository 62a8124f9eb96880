"""The colour of what an operation leaves empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def mean_colour(image: Image) -> list[int]:
    """The image's mean, one value per channel: nothing that training has to learn to ignore."""
    from PIL import ImageStat

    return [round(value) for value in ImageStat.Stat(image).mean]
