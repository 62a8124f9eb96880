"""Images that are read ahead of an accelerator: the same batches in the same order, by threads and by processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import essence, fit_images
from test_feed import picture_feed, text_feed

from unfreeze.train import ahead as reading
from unfreeze.train.ahead import ahead
from unfreeze.train.feed import Feed
from unfreeze.train.job import Job

BATCHES = [[3, 1], [0, 0], [2]]
"""With a row that is drawn twice, as weighted rows are."""


def batches_of(feed: Feed, epoch: int | None) -> list[torch.Tensor]:
    return [feed.batch(rows, epoch)["pixel_values"] for rows in ahead(feed, BATCHES, epoch)]


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("epoch", [None, 0, 3])
@pytest.mark.parametrize("names", [(), ("erasing:1.0",), ("crop:0.3", "flip", "color-jitter")])
def test_batches_are_those_that_are_read_in_turn(
    names: tuple[str, ...], epoch: int | None, forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FORKS", forks)
    feed, plain = picture_feed(tmp_path, names), picture_feed(tmp_path, names)
    before = torch.get_rng_state()
    found = batches_of(feed, epoch)
    assert torch.equal(torch.get_rng_state(), before)
    for rows, batch in zip(BATCHES, found, strict=True):
        assert torch.equal(batch, plain.batch(rows, epoch)["pixel_values"])
    # Nothing of one epoch is left for another, or for reading without changes.
    assert torch.equal(feed.batch([2])["pixel_values"], plain.batch([2])["pixel_values"])
    assert torch.equal(feed.batch([2], 5)["pixel_values"], plain.batch([2], 5)["pixel_values"])


def test_the_next_batch_is_begun_before_this_one_is_used(tmp_path: Path) -> None:
    feed = picture_feed(tmp_path, ())
    asked: list[int] = []
    begin = feed._begin

    def noted(row: int, epoch: int | None) -> Any:
        asked.append(row)
        return begin(row, epoch)

    feed._begin = noted  # type: ignore[method-assign]
    turns = ahead(feed, [[3], [1], [2]])
    assert next(turns) == [3]
    assert asked == [3, 1]
    feed.batch([3])
    assert next(turns) == [1]
    assert asked == [3, 1, 2]


def test_texts_are_read_in_turn() -> None:
    feed = text_feed(("word-deletion:0.5",))[0]
    assert [len(feed.batch(rows, 0)["input_ids"]) for rows in ahead(feed, [[0, 1], [2]], 0)] == [2, 1]


def test_a_run_that_reads_ahead_is_the_run_that_does_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"augment": ["crop:0.5", "flip"], "epochs": 2, "method": "full"}
    plain = fit_images(home, tmp_path / "plain", **options)
    turns = []

    def in_turn(job: Job, feed: Feed, batches: Any, epoch: int | None = None) -> Any:
        turns.append(epoch)
        return ahead(feed, batches, epoch)

    monkeypatch.setattr(Job, "in_turn", in_turn)
    other = fit_images(home, tmp_path / "ahead", **options)
    assert {0, 1} <= set(turns)
    assert essence(other.path) == essence(plain.path)
