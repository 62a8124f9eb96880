"""Images: safe decoding to 8-bit RGB or grey, and the cheap facts that the audit needs."""

from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unfreeze.data.manifest import ImageRef
from unfreeze.errors import DataError

_THUMB = 32
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError)


@dataclass(frozen=True)
class ImageFacts:
    """What one look at an image tells.

    `digest` is the sha256 of the file, `dhash` 64 bits of brightness differences, `thumb` a small grey copy
    of shape (32, 32), uint8.
    """

    width: int
    height: int
    mode: str
    frames: int
    digest: str
    dhash: int
    thumb: np.ndarray[Any, np.dtype[np.uint8]]


def name_of(ref: ImageRef) -> str:
    """How messages call an image."""
    return f"'{ref.path}'" if ref.path else f"an image of {len(ref.data or b'')} bytes"


def content(ref: ImageRef) -> bytes:
    """The bytes of the image file.

    Raises
    ------
    DataError
        If it is missing or has zero bytes.
    """
    try:
        data = ref.data if ref.path is None else ref.path.read_bytes()
    except OSError as error:
        raise DataError(f"Image {name_of(ref)} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise DataError(f"Image {name_of(ref)} is empty (0 bytes).")
    return data


def decode(ref: ImageRef, max_pixels: int) -> Image.Image:
    """The image, upright, 8 bits per channel, mode RGB or L; of animations the first frame.

    Raises
    ------
    DataError
        If it is unreadable, truncated, or has more than `max_pixels` pixels.
    """
    image = _open(ref, content(ref), max_pixels)
    try:
        image.load()
        return normalised(ImageOps.exif_transpose(image))
    except _TOO_LARGE as error:
        raise DataError(f"Image {name_of(ref)} is too large: {error}") from error
    except _BROKEN as error:
        raise DataError(f"Image {name_of(ref)} cannot be decoded: {error}.") from error


def normalised(image: Image.Image) -> Image.Image:
    """Any mode as RGB or L with 8 bits; transparency lies on white."""
    if image.mode in ("RGB", "L"):
        return image
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image)
    if image.mode in ("1", "LA", "La") and "transparency" not in image.info and image.mode == "1":
        return image.convert("L")
    if image.mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return flat.convert("L" if image.mode in ("LA", "La") else "RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8; wider values by their own range."""
    values = np.asarray(image).astype(np.float64)
    top = values.max(initial=0.0)
    if image.mode.startswith("I"):
        scaled = values if top <= 255 and image.mode == "I" else values / (257.0 if top <= 65535 else top / 255)
    else:
        scaled = values * 255 if top <= 1 else values / max(1.0, top / 255)
    return Image.fromarray(np.clip(np.round(np.nan_to_num(scaled)), 0, 255).astype(np.uint8))


def probe(ref: ImageRef, max_pixels: int) -> ImageFacts:
    """Size, mode and fingerprints; JPEGs are read at an eighth of their size, which still meets every damage.

    Raises
    ------
    DataError
        As `decode`.
    """
    data = content(ref)
    image = _open(ref, data, max_pixels)
    width, height, mode, frames = *image.size, image.mode, int(getattr(image, "n_frames", 1))
    try:
        image.draft("L" if mode in ("L", "RGB", "YCbCr") else mode, (_THUMB * 2, _THUMB * 2))
        image.load()
        grey = normalised(ImageOps.exif_transpose(image)).convert("L")
    except _TOO_LARGE as error:
        raise DataError(f"Image {name_of(ref)} is too large: {error}") from error
    except _BROKEN as error:
        raise DataError(f"Image {name_of(ref)} cannot be decoded: {error}.") from error
    thumb = np.asarray(grey.resize((_THUMB, _THUMB), Image.Resampling.BOX), dtype=np.uint8)
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    dhash = int.from_bytes(np.packbits(bits).tobytes(), "big")
    return ImageFacts(width, height, mode, frames, hashlib.sha256(data).hexdigest(), dhash, thumb)


def probe_all(refs: list[ImageRef], max_pixels: int, workers: int = 4) -> list[ImageFacts | str]:
    """Facts of many images, or the reason why one cannot be read."""

    def one(ref: ImageRef) -> ImageFacts | str:
        try:
            return probe(ref, max_pixels)
        except DataError as error:
            return str(error).removesuffix(".")

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, refs, chunksize=64))


def _open(ref: ImageRef, data: bytes, max_pixels: int) -> Image.Image:
    """The image with its header read and its size checked before anything is decoded."""
    try:
        image = Image.open(io.BytesIO(data))
    except _TOO_LARGE as error:
        raise DataError(f"Image {name_of(ref)} is too large: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"Image {name_of(ref)} is in no known image format.") from error
    except _BROKEN as error:
        raise DataError(f"Image {name_of(ref)} cannot be decoded: {error}.") from error
    if image.width * image.height > max_pixels:
        raise DataError(
            f"Image {name_of(ref)} has {image.width}×{image.height} pixels, more than data.max_pixels={max_pixels}."
        )
    return image
