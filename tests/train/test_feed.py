"""Feeds: rows encoded once, augmented by seed, epoch and row alone, targets beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import tiny_pretrained

from unfreeze.data.augmentations._pipeline import build
from unfreeze.data.manifest import Examples, ImageRef
from unfreeze.train.feed import Feed

TEXTS = ["good movie", "a bad bank card, was it?", "the fine bank is a poor movie"]


@dataclass
class Counting:
    """A preprocessor that counts what it encodes."""

    inner: Any
    encoded: list[Any] = field(default_factory=list)

    def encode(self, item: Any) -> Any:
        self.encoded.append(item)
        return self.inner.encode(item)

    def encode_many(self, items: Any) -> Any:
        self.encoded.extend(items)
        return self.inner.encode_many(items)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def text_feed(names: tuple[str, ...] = (), seed: int = 0) -> tuple[Feed, Counting]:
    reader = Counting(tiny_pretrained("bert").preprocess)
    pipeline = build(names, "text") if names else None
    examples = Examples(TEXTS, ["a", "b", "a"], ["1", "2", "3"])
    return Feed(examples, torch.tensor([0, 1, 0]), reader, 10**6, pipeline, seed), reader


def test_rows_are_encoded_once_and_padded_to_the_longest_of_the_batch() -> None:
    feed, reader = text_feed()
    assert feed.lengths == [feed.preprocess.length(feed.sample(row)) for row in range(3)]
    batch = feed.batch([0, 2])
    assert batch["input_ids"].shape == (2, max(feed.lengths[0], feed.lengths[2]))
    assert batch["attention_mask"].sum(1).tolist() == [feed.lengths[0], feed.lengths[2]]
    feed.batch([1, 1, 0])
    assert reader.encoded == TEXTS


def test_beyond_its_memory_rows_are_encoded_again() -> None:
    feed, reader = text_feed()
    feed.most = 0
    one, two = feed.batch([0]), feed.batch([0])
    assert len(reader.encoded) == 2
    assert torch.equal(one["input_ids"], two["input_ids"])


def test_changes_depend_on_seed_epoch_and_row_alone() -> None:
    """Not on the order of reading: else a resumed run would differ."""
    names = ("word-deletion:0.5", "token-dropout:0.3")
    one, two = text_feed(names)[0], text_feed(names)[0]
    read = {(row, epoch): one.augmented(row, epoch)["input_ids"] for epoch in range(4) for row in range(3)}
    for (row, epoch), ids in reversed(read.items()):
        assert torch.equal(two.augmented(row, epoch)["input_ids"], ids)
    assert len({str(read[2, epoch].tolist()) for epoch in range(4)}) > 1
    others = text_feed(names, seed=1)[0]
    assert any(not torch.equal(others.augmented(row, epoch)["input_ids"], ids) for (row, epoch), ids in read.items())


def test_evaluation_is_never_augmented() -> None:
    feed, plain = text_feed(("word-deletion:0.9",))[0], text_feed()[0]
    assert torch.equal(feed.batch([2])["input_ids"], plain.batch([2])["input_ids"])
    assert not torch.equal(feed.batch([2], epoch=0)["input_ids"], plain.batch([2], epoch=0)["input_ids"])


def picture_feed(folder: Path, names: tuple[str, ...]) -> Feed:
    refs = []
    for number in range(4):
        pixels = torch.randint(0, 256, (40, 40, 3), generator=torch.Generator().manual_seed(number)).byte()
        Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
        refs.append(ImageRef(path=folder / f"{number}.png"))
    reader = tiny_pretrained("resnet").preprocess
    pipeline = build(names, "image") if names else None
    return Feed(Examples(refs, ["a"] * 4, ["x"] * 4), torch.zeros(4), reader, 10**6, pipeline)


def test_pictures_are_changed_before_they_are_resized_and_kept_whole_otherwise(tmp_path: Path) -> None:
    feed, plain = picture_feed(tmp_path, ("crop:0.3", "flip", "erasing:1.0")), picture_feed(tmp_path, ())
    assert feed.lengths == [1, 1, 1, 1]
    assert torch.equal(feed.batch([0, 1])["pixel_values"], plain.batch([0, 1])["pixel_values"])
    first, second = feed.batch([0, 1], epoch=0)["pixel_values"], feed.batch([0, 1], epoch=1)["pixel_values"]
    assert first.shape == second.shape == plain.batch([0, 1])["pixel_values"].shape
    assert not torch.equal(first, second)
    assert torch.equal(first, feed.batch([0, 1], epoch=0)["pixel_values"])


def test_erased_bytes_have_the_mean_colour(tmp_path: Path) -> None:
    """What a rectangle is set to is 0 once normalised, up to the rounding of bytes."""
    feed = picture_feed(tmp_path, ("erasing:1.0",))
    changed, whole = feed.batch([0], epoch=0)["pixel_values"], feed.batch([0])["pixel_values"]
    erased = changed[changed != whole]
    assert erased.numel() > 20
    assert erased.abs().max() < 0.02


def test_a_hollow_batch_has_the_shape_and_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = picture_feed(tmp_path, ())
    real = feed.batch([0, 1, 2])["pixel_values"]
    reads: list[Any] = []
    monkeypatch.setattr(feed.preprocess.__class__, "encode", lambda self, item: reads.append(item))
    hollow = feed.hollow_batch([3, 2, 1])["pixel_values"]
    assert hollow.shape == real.shape
    assert hollow.dtype == real.dtype
    assert reads == []
