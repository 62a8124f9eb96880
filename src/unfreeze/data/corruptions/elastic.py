"""A stretched and dented picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.corruptions._pixels import SOURCE, Pixels, blurred, bounded, moved
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

DENTS = (0.0013, 0.0023, 0.0033, 0.0047, 0.008)
"""Standard deviation of the displacements, as a share of the side."""

STRETCHES = (0.01, 0.015, 0.02, 0.02, 0.02)
"""How far three points are moved at most to define a linear map, as a share of the side."""

SMOOTHNESS = 0.01
"""Over which displacements are alike, as a share of the side."""


def elastic(pixels: Pixels, severity: int, rng: Generator) -> Pixels:
    """Displace all pixels by a linear map and by smooth noise."""
    side = min(pixels.shape[:2])
    corners = rng.uniform(-1, 1, size=(3, 2)) * STRETCHES[severity - 1] * side
    noise = rng.uniform(-1, 1, size=(2, *pixels.shape[:2]))
    dents = [_dents(each, side) * DENTS[severity - 1] * side for each in noise]
    stretch = _stretch(corners, pixels.shape[:2])
    return bounded(moved(pixels, stretch[0] + dents[0], stretch[1] + dents[1]))


def _dents(noise: NDArray[Any], side: int) -> NDArray[Any]:
    smooth = blurred(noise, SMOOTHNESS * side)
    return smooth / max(float(smooth.std()), 1e-12)


def _stretch(corners: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Displacements (2, height, width) of the linear map that moves three points around the middle."""
    middle, reach = np.array(shape) / 2, min(shape) / 3
    points = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    known = np.column_stack([points, np.ones(3)])
    linear = np.linalg.solve(known, corners)  # (row, column, 1) -> displacement
    rows, columns = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    found: NDArray[Any] = np.einsum("hwk,kd->dhw", np.stack([rows, columns, np.ones_like(rows)], axis=-1), linear)
    return found


CORRUPTION = Corruption(
    Card(
        what="a slight linear map and smooth displacements of up to about 1 % of the side",
        when="the subject's shape varies, or the picture is bent",
        cost="some ten milliseconds for an image of 224 pixels",
        evidence="one of the fifteen of ImageNet-C: its severities 3 to 5 are these; its 1 and 2 warp the whole image "
        "instead and are not weaker, so that here they continue the others downwards",
        source=SOURCE,
    ),
    modality="image",
    group="digital",
    apply=elastic,
)
