"""Decoded images to pixels."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unfreeze.data.manifest import ImageRef
from unfreeze.errors import DataError, ModelError
from unfreeze.models.image import adapt_channels
from unfreeze.models.pixels import ImagePreprocessor, adapted, load

READER = ImagePreprocessor(size=16, channels=3, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 1.0))


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.sampled_from(["RGB", "L", "RGBA", "P", "1", "CMYK"]),
    st.integers(1, 6),
    st.floats(0.3, 1.0),
)
def test_any_image_becomes_a_square_of_bytes(size: tuple[int, int], mode: str, channels: int, share: float) -> None:
    reader = replace(READER, channels=channels, crop_share=share)
    pixels = reader.from_pil(Image.new(mode, size))["pixel_values"]
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (channels, 16, 16))


def test_the_centre_is_kept_and_a_long_strip_costs_no_memory() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste((0, 255, 0), (100, 0, 200, 100))
    pixels = READER.from_pil(image)["pixel_values"]
    # Only the outermost column blends with what lies beside the crop.
    assert pixels[1, :, 1:-1].min() == 255
    assert pixels[0, :, 1:-1].max() == 0
    assert READER.from_pil(Image.new("RGB", (40_000, 1)))["pixel_values"].shape == (3, 16, 16)


def test_the_crop_keeps_its_share_of_the_shorter_side() -> None:
    image = Image.new("L", (100, 100), 255)
    image.paste(0, (25, 25, 75, 75))
    whole = READER.from_pil(image)["pixel_values"].float().mean()
    half = replace(READER, crop_share=0.5).from_pil(image)["pixel_values"].float().mean()
    assert half == pytest.approx(0, abs=8)
    assert whole == pytest.approx(255 * 0.75, abs=8)


def test_batches_are_normalised_per_channel() -> None:
    sample = {"pixel_values": torch.full((3, 16, 16), 255, dtype=torch.uint8)}
    batch = READER.collate([sample, sample])["pixel_values"]
    assert batch[:, :, 0, 0].tolist() == [[1.0, 1.5, 1.0]] * 2
    assert sample["pixel_values"].max() == 255


def test_files_are_decoded_and_texts_refused() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 30), "blue").save(file, "PNG")
    pixels = READER.encode(ImageRef(data=file.getvalue()))["pixel_values"]
    assert pixels[:, 8, 8].tolist() == [0, 0, 255]
    with pytest.raises(DataError, match="reads images"):
        READER.encode("a text")


def test_saved_and_loaded_preprocessing_is_the_same(tmp_path: object) -> None:
    READER.save(tmp_path)
    assert load(tmp_path) == READER


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 9])
def test_a_grey_image_gives_the_same_response_whatever_the_channels(channels: int) -> None:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adapt_channels(weight, channels).sum(1), weight.sum(1))


def test_statistics_follow_the_channels() -> None:
    assert adapted((0.1, 0.2, 0.3), 1) == pytest.approx((0.2,))
    assert adapted((0.1, 0.2, 0.3), 4) == (0.1, 0.2, 0.3, 0.1)


def test_changes_that_are_for_texts_are_refused() -> None:
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
    from tiny import tiny_pretrained

    with pytest.raises(ModelError, match=r"model\.max_length is for texts"):
        tiny_pretrained("resnet", max_length=12)
