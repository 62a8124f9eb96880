"""What corruptions of images share. Pixels are float32 of shape (height, width, channels) from 0 to 1.

Lengths (radii, displacements) are those of the source, which are for images of 224 pixels, and shrink with the image;
what is said per pixel (the strength of noise, the quality of JPEG) stays, so that it weighs more in small images.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.float32]

SOURCE = "Hendrycks & Dietterich 2019, arXiv:1903.12261"
SIDE = 224
"""What the source's lengths are for."""


def scale(pixels: Pixels) -> float:
    """What a length of the source has to be multiplied by."""
    return float(min(pixels.shape[:2])) / SIDE


def bounded(pixels: NDArray[Any]) -> Pixels:
    """Within 0 and 1, as float32."""
    found: Pixels = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    return found


def blurred(pixels: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Gaussian blur within the image, not across channels."""
    from scipy.ndimage import gaussian_filter

    axes = (sigma, sigma) if pixels.ndim == 2 else (sigma, sigma, 0)
    found: NDArray[Any] = gaussian_filter(pixels, axes, mode="reflect")
    return found


def convolved(pixels: NDArray[Any], kernel: NDArray[Any]) -> NDArray[Any]:
    """Each channel convolved with a kernel of odd sides whose sum is made 1; the image is mirrored at its borders."""
    from scipy.signal import fftconvolve

    rows, columns = (size // 2 for size in kernel.shape)
    around = [(rows, rows), (columns, columns)] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, around, mode="symmetric")
    weights = (kernel / kernel.sum()).reshape(kernel.shape + (1,) * (pixels.ndim - 2))
    found: NDArray[Any] = fftconvolve(padded, weights, mode="valid", axes=(0, 1))
    return found


def moved(pixels: Pixels, down: NDArray[Any], right: NDArray[Any]) -> Pixels:
    """Each pixel taken from so far below and to the right of it, in pixels; both of shape (height, width)."""
    from scipy.ndimage import map_coordinates

    rows, columns = np.meshgrid(*(np.arange(size) for size in pixels.shape[:2]), indexing="ij")
    places = [rows + down, columns + right]
    planes = [map_coordinates(plane, places, order=1, mode="reflect") for plane in np.moveaxis(pixels, -1, 0)]
    return np.stack(planes, axis=-1).astype(np.float32)


def motion_kernel(radius: float, sigma: float, angle: float) -> NDArray[Any]:
    """Weights that fall from one end of a straight line to the other, as those of a moving camera.

    Parameters
    ----------
    radius, sigma : float
        Half of the line's length, and how fast the weights fall along it, in pixels.
    angle : float
        In degrees.
    """
    reach = max(1, round(2 * radius))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    direction = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    steps = np.arange(0.0, max(2 * radius, 1e-6), 0.25)
    for step, weight in zip(steps, np.exp(-((steps / max(sigma, 1e-6)) ** 2) / 2), strict=True):
        _splat(kernel, reach + step * direction, weight)
    return kernel


def _splat(kernel: NDArray[Any], place: NDArray[Any], weight: float) -> None:
    """Add a weight between four neighbouring cells."""
    low = np.floor(place).astype(int)
    share = place - low
    for row in (0, 1):
        for column in (0, 1):
            part = weight * abs(1 - row - share[0]) * abs(1 - column - share[1])
            if part > 0:
                kernel[min(low[0] + row, len(kernel) - 1), min(low[1] + column, len(kernel) - 1)] += part


def as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """From 0 to 255."""
    found: NDArray[np.uint8] = np.round(np.clip(pixels, 0.0, 1.0) * 255).astype(np.uint8)
    return found


def as_picture(pixels: NDArray[Any]) -> Image.Image:
    """8 bits for each channel."""
    whole = as_bytes(pixels)
    return Image.fromarray(whole[..., 0] if whole.ndim == 3 and whole.shape[-1] == 1 else whole)


def from_picture(picture: Image.Image) -> Pixels:
    """The inverse of `as_picture`."""
    values = np.asarray(picture, dtype=np.float32) / np.float32(255)
    return values[..., None] if values.ndim == 2 else values
