"""The image operations that RandAugment draws from; strength lies in [0, 1], sign is -1 or 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

Operation = Callable[["Image", float, int], "Image"]


def fill_of(image: Image) -> Any:
    """The image's mean colour, for what an operation leaves empty: nothing that training has to learn to ignore."""
    from PIL import ImageStat

    mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
    return mean[0] if len(mean) == 1 else mean


def _enhance(kind: str, image: Image, strength: float, sign: int) -> Image:
    from PIL import ImageEnhance

    enhanced: Image = getattr(ImageEnhance, kind)(image).enhance(1 + sign * 0.9 * strength)
    return enhanced


def _affine(image: Image, matrix: tuple[float, float, float, float, float, float]) -> Image:
    from PIL.Image import Resampling, Transform

    return image.transform(image.size, Transform.AFFINE, matrix, Resampling.BILINEAR, fillcolor=fill_of(image))


def _shear_x(image: Image, strength: float, sign: int) -> Image:
    return _affine(image, (1, sign * 0.3 * strength, 0, 0, 1, 0))


def _shear_y(image: Image, strength: float, sign: int) -> Image:
    return _affine(image, (1, 0, 0, sign * 0.3 * strength, 1, 0))


def _shift_x(image: Image, strength: float, sign: int) -> Image:
    return _affine(image, (1, 0, sign * 0.45 * strength * image.width, 0, 1, 0))


def _shift_y(image: Image, strength: float, sign: int) -> Image:
    return _affine(image, (1, 0, 0, 0, 1, sign * 0.45 * strength * image.height))


def _turn(image: Image, strength: float, sign: int) -> Image:
    from PIL.Image import Resampling

    return image.rotate(sign * 30 * strength, Resampling.BILINEAR, fillcolor=fill_of(image))


def _posterize(image: Image, strength: float, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.posterize(image, 8 - round(4 * strength))


def _solarize(image: Image, strength: float, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, 256 - round(256 * strength))


def _equalize(image: Image, strength: float, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _autocontrast(image: Image, strength: float, sign: int) -> Image:
    from PIL import ImageOps

    return ImageOps.autocontrast(image)


def _same(image: Image, strength: float, sign: int) -> Image:
    return image


OPERATIONS: dict[str, Operation] = {
    "same": _same,
    "autocontrast": _autocontrast,
    "brightness": partial(_enhance, "Brightness"),
    "color": partial(_enhance, "Color"),
    "contrast": partial(_enhance, "Contrast"),
    "equalize": _equalize,
    "posterize": _posterize,
    "rotate": _turn,
    "sharpness": partial(_enhance, "Sharpness"),
    "shear x": _shear_x,
    "shear y": _shear_y,
    "shift x": _shift_x,
    "shift y": _shift_y,
    "solarize": _solarize,
}
