"""Kept features come back row for row, padded with zeros, in any order; the cache forgets the oldest."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.stack.cache import FeatureCache, content_key
from unfreeze.stack.features import FeatureStore


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=12), data=st.data())
def test_ragged_rows_come_back_without_their_padding(lengths: list[int], data: st.DataObject) -> None:
    rows = [torch.randn(length, 3) for length in lengths]
    store = FeatureStore(ragged=True)
    order = data.draw(st.permutations(range(len(rows))))
    half = len(order) // 2
    for part in (order[:half], order[half:]):
        if part:
            padded = torch.full((len(part), 9, 3), 99.0)
            for place, row in enumerate(part):
                padded[place, : lengths[row]] = rows[row]
            store.add(part, [lengths[row] for row in part], padded)
    store.close()
    asked = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, max_size=6))
    batch = store.batch(asked)
    assert batch.shape == (len(asked), max(lengths[row] for row in asked), 3)
    for place, row in enumerate(asked):
        assert torch.equal(batch[place, : lengths[row]], rows[row])
        assert not batch[place, lengths[row] :].any()
    assert store.bytes == sum(lengths) * 3 * 4


def test_rows_of_one_shape_come_back_in_any_order() -> None:
    rows = torch.randn(5, 2, 2)
    store = FeatureStore(ragged=False)
    store.add([3, 0], [1, 1], rows[[3, 0]])
    store.add([1, 4, 2], [1, 1, 1], rows[[1, 4, 2]])
    store.close()
    assert torch.equal(store.batch([4, 4, 0, 2]), rows[[4, 4, 0, 2]])


def test_kept_features_do_not_change_with_the_tensor_they_came_from() -> None:
    rows, store = torch.ones(2, 3), FeatureStore(ragged=False)
    store.add([0, 1], [1, 1], rows)
    rows.zero_()
    store.close()
    assert store.batch([0, 1]).all()


def filled(values: int) -> list[FeatureStore]:
    store = FeatureStore(ragged=False)
    store.add([0], [1], torch.zeros(1, values))
    store.close()
    return [store]


def test_the_least_recently_used_features_go_first() -> None:
    cache, made = FeatureCache(limit=1000), []

    def make(key: str) -> list[FeatureStore]:
        made.append(key)
        return filled(100)

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, lambda key=key: make(key))  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]
    assert cache.bytes <= 1000
    cache.get("large", lambda: filled(1000))
    assert cache.bytes == 4000, "what is in use is kept even if it is too large"
    cache.drop("large")
    cache.drop("unknown")
    assert cache.bytes == 0


def test_keys_follow_content_and_not_order() -> None:
    assert content_key(a=1, b={"x": 1, "y": 2}) == content_key(b={"y": 2, "x": 1}, a=1)
    assert content_key(a=1) != content_key(a=2)
    assert content_key(a=1) != content_key(b=1)
