"""Batches: every row once, of similar length, the same for the same key, and in proportion when weighted."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.train.order import MEGABATCH, PASS, generator, reading_batches, training_batches, training_passes

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=200)


@settings(deadline=None, max_examples=50)
@given(lengths=LENGTHS, size=st.integers(1, 9), epoch=st.integers(0, 3))
def test_every_row_is_read_once_in_each_epoch(lengths: list[int], size: int, epoch: int) -> None:
    batches = training_batches(lengths, size, key=(0, 0, 0, epoch))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert batches == training_batches(lengths, size, key=(0, 0, 0, epoch))
    reading = reading_batches(lengths, size)
    assert sorted(row for batch in reading for row in batch) == list(range(len(lengths)))
    assert max(lengths) == lengths[reading[0][0]]


@settings(deadline=None, max_examples=50)
@given(lengths=LENGTHS, tokens=st.integers(1, 300))
def test_a_batch_to_read_has_so_many_tokens_and_no_more(lengths: list[int], tokens: int) -> None:
    reading = reading_batches(lengths, tokens=tokens)
    assert sorted(row for batch in reading for row in batch) == list(range(len(lengths)))
    order = [lengths[row] for batch in reading for row in batch]
    assert order == sorted(lengths, reverse=True)
    for batch in reading:
        longest = lengths[batch[0]]
        assert len(batch) == 1 or len(batch) * longest <= tokens


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.sampled_from([1, 5, 20, 90, 300]), min_size=1, max_size=60), tokens=st.integers(1, 2000))
def test_no_other_cut_between_lengths_costs_less(lengths: list[int], tokens: int) -> None:
    order, kinds = sorted(lengths, reverse=True), sorted(set(lengths))

    def cost(batches: list[list[int]]) -> int:
        return sum(len(batch) * batch[0] + PASS for batch in batches)

    def cut(at: tuple[int, ...]) -> list[list[int]]:
        stretches = [[length for length in order if sum(length < edge for edge in at) == n] for n in range(len(at) + 1)]
        return [
            stretch[start : start + max(1, tokens // stretch[0])]
            for stretch in stretches
            if stretch
            for start in range(0, len(stretch), max(1, tokens // stretch[0]))
        ]

    cheapest = min(cost(cut(at)) for count in range(len(kinds)) for at in combinations(kinds, count))
    assert cost([[lengths[row] for row in batch] for batch in reading_batches(lengths, tokens=tokens)]) == cheapest


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=64), fixed=st.integers(1, 300))
def test_passes_of_a_batch_hold_its_rows_once_and_never_cost_more_than_one(lengths: list[int], fixed: int) -> None:
    rows = list(range(len(lengths)))[::-1]
    parts = training_passes(rows, lengths, fixed)
    assert sorted(row for part in parts for row in part) == sorted(rows)
    cost = sum(len(part) * max(lengths[row] for row in part) + fixed for part in parts)
    assert cost <= len(rows) * max(lengths) + fixed
    if len(parts) == 1:
        assert parts == [rows], "as they came"


def test_a_long_text_is_read_apart_from_short_ones() -> None:
    assert training_passes([0, 1, 2, 3], [20, 200, 20, 18]) == [[1], [0, 2, 3]]
    assert training_passes([0, 1, 2, 3], [20, 30, 20, 18]) == [[0, 1, 2, 3]]


def test_so_many_rows_where_they_are_asked_for() -> None:
    assert [len(batch) for batch in reading_batches([1, 2, 50, 3, 1], 2, tokens=1000)] == [2, 2, 1]


def test_epochs_phases_and_seeds_have_orders_of_their_own() -> None:
    keys = [(seed, 0, phase, epoch) for seed in range(2) for phase in range(2) for epoch in range(2)]
    orders = {str(training_batches([1] * 40, 4, key=key)) for key in keys}
    assert len(orders) == len(keys)


def test_rows_of_similar_length_go_together() -> None:
    lengths = [1 + 7 * row % 97 for row in range(8 * MEGABATCH)]
    batches = training_batches(lengths, 8, key=(0,))
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert np.mean(spread) < 5
    firsts = [lengths[batch[0]] for batch in batches]
    assert firsts != sorted(firsts, reverse=True), "lengths must not decide when a row is seen"


def test_weights_draw_rows_in_proportion() -> None:
    weights = [9.0] * 10 + [1.0] * 90
    drawn = Counter(
        row
        for epoch in range(50)
        for batch in training_batches([1] * 100, 10, key=(epoch,), weights=weights)
        for row in batch
    )
    share = sum(drawn[row] for row in range(10)) / sum(drawn.values())
    assert 0.45 < share < 0.55


def test_generators_depend_on_their_key_alone() -> None:
    assert generator(1, 2).integers(1 << 30) == generator(1, 2).integers(1 << 30)
    assert len({int(generator(*key).integers(1 << 30)) for key in ((1, 2, 0), (2, 1, 0), (1, 0, 2), (12, 0, 0))}) == 4
