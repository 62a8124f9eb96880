"""Images to pixels and batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from unfreeze.data.manifest import ImageRef, Input
from unfreeze.errors import DataError
from unfreeze.models.pretrained import Batch, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "preprocessor.json"


@dataclass(frozen=True)
class ImagePreprocessor:
    """Decodes, resizes the shorter side, crops the centre. Pixels stay bytes until a batch is made.

    Parameters
    ----------
    size : int
        Side of the square input in pixels.
    channels : int
    mean, std : tuple of float
        Of the pre-training data, for pixels from 0 to 1, one per channel.
    crop_share : float
        Share of the resized shorter side that the crop keeps.
    interpolation : "bicubic", "bilinear", "lanczos" or "nearest"
    max_pixels : int
        Larger images are refused.
    """

    size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float = 1.0
    interpolation: str = "bicubic"
    max_pixels: int = 64_000_000

    def encode(self, item: Input) -> Sample:
        """One image: `pixel_values`, bytes of shape (channels, size, size)."""
        return self.from_pil(self.decode(item))

    def decode(self, item: Input) -> Image:
        """The image as it is stored, for changes that come before resizing."""
        from unfreeze.data.images import decode

        if not isinstance(item, ImageRef):
            raise DataError("An image model reads images; the input is a text. Choose a text model.")
        return decode(item, self.max_pixels)

    def from_pil(self, image: Image) -> Sample:
        """A decoded image: `pixel_values`, bytes of shape (channels, size, size)."""
        image = image.convert("L" if self.channels == 1 else "RGB")
        pixels = np.array(self._square(image), dtype=np.uint8)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        # More than three channels repeat red, green, blue, as the adapted weights do.
        pixels = pixels[np.arange(self.channels) % len(pixels)]
        return {"pixel_values": torch.from_numpy(np.ascontiguousarray(pixels))}

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack and normalise: `pixel_values`, floats of shape (rows, channels, size, size)."""
        pixels = torch.stack([sample["pixel_values"] for sample in samples]).float().div_(255.0)
        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return {"pixel_values": pixels.sub_(mean).div_(std)}

    def length(self, sample: Sample) -> int:
        """All images are equally long."""
        return 1

    @property
    def facts(self) -> dict[str, Any]:
        """What changes of pixels need to know: `mean`, the colour that is 0 once normalised."""
        return {"mean": self.mean}

    def config(self) -> dict[str, Any]:
        """Everything that changes what a model is given."""
        return {"kind": "image", **asdict(self)}

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def _square(self, image: Image) -> Image:
        from PIL import Image as pil

        filters = {
            "bicubic": pil.Resampling.BICUBIC,
            "bilinear": pil.Resampling.BILINEAR,
            "lanczos": pil.Resampling.LANCZOS,
            "nearest": pil.Resampling.NEAREST,
        }
        # One step for resizing the shorter side and cropping the centre: a strip of 1 x 10000 pixels stays small.
        box = _middle(*image.size, min(1.0, self.crop_share))
        return image.resize((self.size, self.size), filters[self.interpolation], box=box)


def _middle(width: int, height: int, share: float) -> tuple[float, float, float, float]:
    """The central square whose side is a share of the shorter side."""
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def load(folder: Path) -> ImagePreprocessor:
    """What `save` wrote."""
    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return ImagePreprocessor(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def adapted(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Mean or deviation per channel for another number of channels."""
    if channels == len(values):
        return values
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[channel % len(values)] for channel in range(channels))
