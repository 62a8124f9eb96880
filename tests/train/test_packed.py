"""Encoded texts are packed: the same samples from a few bytes a token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import tiny_pretrained

from unfreeze.data import stored
from unfreeze.data.manifest import Examples
from unfreeze.train.feed import Feed
from unfreeze.train.packed import can_be_packed, pack, packed_bytes


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1, max_size=20),
    large=st.sampled_from([0, 50, 10**6]),
    size=st.integers(1, 7),
)
def test_samples_come_back_as_they_were(
    monkeypatch: pytest.MonkeyPatch, rows: list[list[int]], large: int, size: int
) -> None:
    monkeypatch.setattr(stored, "LARGE", large)
    samples = [{"input_ids": torch.tensor(row), "token_type_ids": torch.tensor(row) // 2} for row in rows]
    portions = [samples[start : start + size] for start in range(0, len(samples), size)]
    packed = pack(portions, list(samples[0]))
    for row, sample in enumerate(samples):
        found = packed.sample(row)
        assert found.keys() == sample.keys()
        assert all(torch.equal(found[name], sample[name]) and found[name].dtype == torch.int64 for name in sample)
    found["input_ids"].fill_(7)  # what changes tokens must not change those that are kept
    assert torch.equal(packed.sample(len(rows) - 1)["input_ids"], samples[-1]["input_ids"])
    numbers = sum(2 * len(row) for row in rows)
    on_disk = 4 * numbers > large
    assert packed.bytes == 8 * len(rows) + (0 if on_disk else 4 * numbers)
    assert packed_bytes(len(rows), numbers / len(rows)) == pytest.approx(packed.bytes, abs=8)


def test_what_is_no_row_of_whole_numbers_is_not_packed() -> None:
    ids = torch.arange(3)
    assert can_be_packed({"a": ids, "b": ids})
    assert not can_be_packed({"a": ids, "b": ids[:2]})
    assert not can_be_packed({"a": ids.float()})
    assert not can_be_packed({"a": ids[None]})


def test_a_feed_on_disk_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"a good movie of number {i} " + "bank " * (i % 5) for i in range(50)]
    examples = Examples(texts, ["a"] * 50, [str(i) for i in range(50)])
    read = tiny_pretrained("bert").preprocess
    expected = [read.encode(text) for text in texts]
    monkeypatch.setattr(stored, "LARGE", 10)
    feed = Feed(examples, torch.zeros(50), read, 10**6)
    estimate = feed.bytes_at_most
    assert feed.lengths == [len(sample["input_ids"]) for sample in expected]
    assert feed.bytes == feed.bytes_at_most == estimate == 8 * 50
    assert all(torch.equal(feed.sample(row)["input_ids"], expected[row]["input_ids"]) for row in range(50))
