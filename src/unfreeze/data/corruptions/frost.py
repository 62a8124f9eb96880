"""Frost on the lens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SIDE, SOURCE, Pixels, bounded
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SHARES = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
"""What of the image stays, and what of the frost is added."""

TINT = np.array([0.86, 0.94, 1.0])
"""Ice is a little blue."""

NEEDLES = 160
"""Crystals on a picture of 224 pixels."""


def frost(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Darken the image and add ice: needles of crystals in a haze that thickens towards the border."""
    kept, added = SHARES[severity - 1]
    height, width = pixels.shape[:2]
    ice = Image.fromarray(texture(rng).astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    colour = TINT if pixels.shape[-1] == 3 else np.ones(1)
    return bounded(kept * pixels + added * np.asarray(ice, dtype=np.float64)[..., None] * colour)


def texture(rng: Generator) -> NDArray[Any]:
    """Ice from 0 to 1 over a picture of 224 pixels: haze, and needles that branch from where ice began to grow."""
    from scipy.ndimage import gaussian_filter

    rows, columns = np.meshgrid(*(np.linspace(-1, 1, SIDE),) * 2, indexing="ij")
    border = np.clip(np.maximum(np.abs(rows), np.abs(columns)), 0, 1) ** 2
    grain = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3.0)
    haze = 0.38 + 0.35 * border + 0.1 * grain / max(float(grain.std()), 1e-12)
    needles = np.zeros((SIDE, SIDE))
    for _ in range(NEEDLES):
        _grow(needles, rng)
    found: NDArray[Any] = np.clip(haze + 0.7 * gaussian_filter(needles, 0.7), 0.0, 1.0)
    return found


def _grow(needles: NDArray[Any], rng: Generator) -> None:
    """A needle from the border's neighbourhood inwards, with side branches at 60 degrees as ice has them."""
    start = rng.uniform(0, SIDE, 2)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(15, 70)
    _draw(needles, start, angle, length)
    for share in rng.uniform(0.15, 0.9, 6):
        from_ = start + share * length * np.array([np.sin(angle), np.cos(angle)])
        turn = np.pi / 3 * rng.choice((-1, 1))
        _draw(needles, from_, angle + turn, (1 - share) * length * 0.5)


def _draw(needles: NDArray[Any], start: NDArray[Any], angle: float, length: float) -> None:
    """A line that fades towards its tip."""
    steps = np.arange(0.0, max(length, 1.0), 0.5)
    places = (start[:, None] + np.array([[np.sin(angle)], [np.cos(angle)]]) * steps).round().astype(int)
    inside = ((places >= 0) & (places < SIDE)).all(axis=0)
    np.maximum.at(needles, tuple(places[:, inside]), (1 - steps / (length + 1.0))[inside])


CORRUPTION = Corruption(
    Card(
        what="ice crystals over the image, which loses contrast",
        when="the camera stands outdoors in winter, or its glass is cold",
        cost="some milliseconds to draw the ice for each image",
        evidence="one of the fifteen of ImageNet-C, with its shares; the ice is drawn at random where the source lays "
        "five photographs of frost over the image, so that figures are not comparable with published ones",
        source=SOURCE,
    ),
    modality="image",
    group="weather",
    apply=frost,
)
