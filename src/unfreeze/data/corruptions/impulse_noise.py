"""Salt and pepper: values lost in transmission."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SHARES = (0.03, 0.06, 0.09, 0.17, 0.27)


def impulse_noise(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Replace a share of the values by 0 or 1."""
    lost = rng.random(pixels.shape) < SHARES[severity - 1]
    salt = (rng.random(pixels.shape) < 0.5).astype(np.float32)
    return np.where(lost, salt, pixels)


CORRUPTION = Corruption(
    Card(
        what="3 % to 27 % of the values become 0 or 1",
        when="bits are lost on the way",
        cost="next to nothing",
        evidence="one of the fifteen of ImageNet-C, with its parameters",
        source=SOURCE,
    ),
    modality="image",
    group="noise",
    apply=impulse_noise,
)
