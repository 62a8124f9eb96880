"""Strong compression."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, as_picture, from_picture
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

QUALITIES = (25, 18, 15, 10, 7)


def jpeg(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Write the image as JPEG and read it again."""
    file = io.BytesIO()
    as_picture(pixels).save(file, "JPEG", quality=QUALITIES[severity - 1])
    with Image.open(file) as picture:
        return from_picture(picture)


CORRUPTION = Corruption(
    Card(
        what="written as JPEG of quality 25 down to 7",
        when="pictures were sent or kept by programs that save space",
        cost="one encoding and one decoding for each image",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="digital",
    apply=jpeg,
)
