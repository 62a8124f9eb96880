"""Likeness of features: CKA against its definition and known values, neighbours, cosines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unfreeze.evidence._similarity import _gram, _hsic, cka, cosines, mean_of, shared_neighbours


def drawn(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def value(one: Tensor, other: Tensor) -> float:
    found = cka(one, other)
    assert found is not None
    assert found["value"] is not None
    return found["value"]


def test_a_rotation_with_scale_and_shift_is_the_same_geometry() -> None:
    features = drawn(60, 12, 0) * torch.linspace(0.1, 3, 12)
    turn, _ = torch.linalg.qr(drawn(12, 12, 1))
    found = cka(features, 5 * features @ turn - 3)
    assert found is not None
    assert found["value"] == pytest.approx(1, abs=1e-5)
    assert found["low"] == pytest.approx(1, abs=1e-4)


def test_independent_features_are_unlike_however_wide_they_are() -> None:
    """With more features than rows the plain estimate says that anything is like anything."""
    one, other = drawn(80, 400, 0), drawn(80, 400, 1)
    found = cka(one, other)
    assert found is not None
    assert abs(found["value"] or 0.0) < 0.1
    assert (found["low"] or 0.0) < 0 < (found["high"] or 0.0)
    grams = [(each - each.mean(dim=0)) @ (each - each.mean(dim=0)).T for each in (one, other)]
    plain = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
    assert plain > 0.7, "the plain estimate, which is not used"


def test_a_known_value() -> None:
    """Ten directions in common and ten of one's own: sqrt(10 / 20)."""
    features = drawn(1500, 10, 0)
    more = torch.cat([features, drawn(1500, 10, 1)], dim=1)
    assert value(features, more) == pytest.approx(0.5**0.5, abs=0.02)


def test_each_row_left_out_is_left_out() -> None:
    """The closed form of the jackknife against doing it."""
    one, other = drawn(12, 5, 0), drawn(12, 7, 1)
    grams = [_gram(each) for each in (one, other)]
    found = _hsic(*grams)
    for row in range(12):
        rest = [np.delete(np.delete(gram, row, 0), row, 1) for gram in grams]
        assert found[1 + row] == pytest.approx(_hsic(*rest)[0])


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(100):
        features = drawn(60, 4, 2 * seed)
        found = cka(features, torch.cat([features, drawn(60, 4, 2 * seed + 1)], dim=1))
        assert found is not None
        hits += (found["low"] or 0.0) <= 0.5**0.5 <= (found["high"] or 0.0)
    assert 85 <= hits <= 100


def test_what_cannot_be_told() -> None:
    assert cka(drawn(5, 3, 0), drawn(5, 3, 1)) is None
    assert cka(drawn(20, 3, 0), torch.ones(20, 3)) is None
    assert cka(torch.ones(20, 3), torch.ones(20, 3)) is None


def test_the_very_same_features_are_exactly_one() -> None:
    features = drawn(20, 3, 0)
    assert cka(features, features.clone()) == {"value": 1.0, "low": 1.0, "high": 1.0}
    nearly = features.clone()
    nearly[0] += 1e-3
    assert 0.9 < value(features, nearly) < 1


def test_neighbours_stay_where_nothing_moves_and_go_where_everything_does() -> None:
    features = drawn(300, 8, 0)
    assert shared_neighbours(features, 2 * features + 1, 10).tolist() == [1.0] * 300
    assert shared_neighbours(features, drawn(300, 8, 1), 10).mean() == pytest.approx(10 / 299, abs=0.02)


def test_of_two_clusters_one_that_is_shuffled_loses_its_neighbours() -> None:
    angles = torch.cat([torch.linspace(0, 1, 30), torch.linspace(3, 4, 30)])
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    moved = features.clone()
    moved[30:] = features[30:][torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    shared = shared_neighbours(features, moved, 3)
    assert shared[:30].tolist() == [1.0] * 30
    assert shared[30:].mean() < 0.4


def test_cosines_and_their_mean() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    other = torch.tensor([[3.0, 0.0], [1.0, 0.0], [-1.0, -1.0]])
    found = cosines(one, other)
    assert found.tolist() == pytest.approx([1.0, 0.0, -1.0])
    figure = mean_of(found, 200, 0)
    assert figure["value"] == pytest.approx(0.0)
    assert -1 <= (figure["low"] or 0.0) < 0 < (figure["high"] or 0.0) <= 1
    assert mean_of(found, 0, 0)["low"] is None
