"""Kept features come back row for row, padded with zeros, in any order, from memory and from disk alike."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfreeze.stack.budget import Budget
from unfreeze.stack.cache import FeatureCache, content_key

MEMORY, DISK = Budget(0.5, 0), Budget(0, 0.5)
TYPES = (torch.bfloat16, torch.float32, torch.float64, torch.float16, torch.int64, torch.bool)


def by_hand(rows: list[Tensor]) -> Tensor:
    """Padded with zeros to the longest."""
    longest = max(len(row) for row in rows)
    return torch.stack([torch.cat([row, row.new_zeros((longest - len(row), *row.shape[1:]))]) for row in rows])


def padded(rows: list[Tensor], length: int) -> Tensor:
    """As a model leaves it: what stands beyond a row's end is no zero."""
    return torch.stack([torch.cat([row, torch.ones((length - len(row), *row.shape[1:])).to(row)]) for row in rows])


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 7), min_size=1, max_size=12),
    shape=st.sampled_from([(), (3,), (2, 2)]),
    dtype=st.sampled_from(TYPES),
    data=st.data(),
)
def test_memory_and_disk_give_the_same_batches_as_padding_by_hand(
    lengths: list[int], shape: tuple[int, ...], dtype: torch.dtype, data: st.DataObject
) -> None:
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    ragged = [(torch.randn(length, *shape, generator=draw) * 9).to(dtype) for length in lengths]
    fixed = (torch.randn(len(lengths), 2, *shape, generator=draw) * 9).to(dtype)
    order = data.draw(st.permutations(range(len(lengths))))
    size = data.draw(st.integers(1, len(lengths)))
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    asked = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, max_size=6))
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, budget in (("memory", MEMORY), ("disk", DISK)):
            cache = FeatureCache(budget, Path(folder, name))
            example = [padded(ragged, 8), fixed]
            with cache.filling("key", [True, False], lengths, example, persist=False) as filling:
                for part in parts:
                    longest = max(lengths[row] for row in part) + data.draw(st.integers(0, 2))
                    filling.add(part, [padded([ragged[row] for row in part], longest), fixed[part]])
            found[name] = filling.close()
            assert all(store.in_memory == (name == "memory") for store in found[name])
            if name == "disk":
                cache.clear()
                found["reopened"] = cache.find("key") or ()
        for texts, rows in found.values():
            assert len(texts) == len(rows) == len(lengths)
            assert_same(texts.batch(asked), by_hand([ragged[row] for row in asked]))
            assert_same(rows.batch(asked), fixed[asked])


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("budget", [MEMORY, DISK], ids=["memory", "disk"])
def test_a_batch_is_ones_own(budget: Budget, tmp_path: Path) -> None:
    rows = torch.ones(2, 3)
    with FeatureCache(budget, tmp_path).filling("key", [False], [1, 1], [rows]) as filling:
        filling.add([0, 1], [rows])
        rows.zero_()
    (store,) = filling.close()
    store.batch([0, 1]).zero_()
    assert store.batch([0, 1]).all()
    assert store.table is not None
    with pytest.raises(ValueError, match="read-only"):
        store.table[:] = 0


@pytest.mark.parametrize("budget", [MEMORY, DISK], ids=["memory", "disk"])
def test_what_is_not_like_the_first_batch_is_refused(budget: Budget, tmp_path: Path) -> None:
    example = torch.ones(2, 4, 3)
    for wrong, said in (
        (example.bfloat16(), "found torch.bfloat16"),
        (example[..., :2], r"found torch.float32 and \(2,\)"),
        (example[:, :2], "expected 3 parts of sample 0, found 2"),
    ):
        filling = FeatureCache(budget, tmp_path).filling("key", [True], [3, 2], [example])
        with pytest.raises(ValueError, match=said), filling:
            filling.add([0, 1], [wrong])
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("budget", [MEMORY, DISK], ids=["memory", "disk"])
def test_every_sample_comes_once(budget: Budget, tmp_path: Path) -> None:
    cache = FeatureCache(budget, tmp_path)
    filling = cache.filling("a", [False], [1] * 3, [torch.ones(1, 2)])
    filling.add([0, 2], [torch.ones(2, 2)])
    for twice, rows in (([2], 1), ([1, 1], 2)):
        with pytest.raises(ValueError, match="twice"):
            filling.add(twice, [torch.ones(rows, 2)])
    with pytest.raises(ValueError, match="1 of 3 samples are missing"):
        filling.close()
    assert cache.find("a") is None
    assert not list(tmp_path.iterdir())


def test_samples_may_be_an_array_and_must_exist(tmp_path: Path) -> None:
    with FeatureCache(MEMORY, tmp_path).filling("a", [True], [2, 1], [torch.ones(2, 2, 3)]) as filling:
        filling.add([0, 1], [torch.ones(2, 2, 3)])
    (store,) = filling.close()
    assert store.bytes == (2 + 1 + 1) * 3 * 4, "without padding, and one part of zeros that padding reads"
    assert torch.equal(store.batch(np.array([1, 0])), store.batch([1, 0]))  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        store.batch([2])


def test_keys_follow_content_and_not_order() -> None:
    assert content_key(a=1, b={"x": 1, "y": 2}) == content_key(b={"y": 2, "x": 1}, a=1)
    assert content_key(a=1) != content_key(a=2)
    assert content_key(a=1) != content_key(b=1)
