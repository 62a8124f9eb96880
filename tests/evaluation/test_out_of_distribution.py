"""Distances from the validation rows' classes: exact on a small case, honest percentiles, planted strangers found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfreeze.errors import RunError
from unfreeze.evaluation import out_of_distribution
from unfreeze.evaluation.out_of_distribution import (
    FILE,
    Reference,
    entering_head,
    fit_reference,
    read_reference,
    separation,
)
from unfreeze.models.head import Head


def blobs(rows: int, width: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normal classes of one covariance that is far from round, in the same place whatever the seed."""
    fixed, draw = torch.Generator().manual_seed(99), torch.Generator().manual_seed(seed)
    spread = torch.diag(torch.logspace(-1, 1, width)) @ torch.randn(width, width, generator=fixed)
    centres = 20 * torch.randn(classes, width, generator=fixed)
    own = torch.randint(classes, (rows,), generator=draw)
    return centres[own] + torch.randn(rows, width, generator=draw) @ spread, own


def fitted(rows: int = 2000, **more: int) -> Reference:
    found = fit_reference(*blobs(rows, **more))
    assert found is not None
    return found


def test_with_all_directions_it_is_the_mahalanobis_distance() -> None:
    features, classes = blobs(400)
    reference = fit_reference(features, classes)
    assert reference is not None
    assert reference.directions.shape == (6, 6)
    means = torch.stack([features[classes == label].mean(dim=0) for label in range(3)])
    within = features - means[classes]
    inverse = torch.linalg.inv((within.T @ within / (400 - 3)).double())
    apart = features[:50].double()[:, None] - means.double()[None]
    expected = torch.einsum("rcw,wv,rcv->rc", apart, inverse, apart).sqrt().min(dim=1).values
    assert reference.distance(features[:50]) == pytest.approx(expected.numpy(), rel=2e-3)


def test_percentiles_of_new_rows_are_even() -> None:
    reference = fitted()
    percentiles = reference.percentile(blobs(3000, seed=1)[0])
    for share in (10, 50, 90, 95, 99):
        assert (percentiles < share).mean() == pytest.approx(share / 100, abs=0.025)


@pytest.mark.parametrize("rows", [40, 120])
def test_percentiles_are_even_where_rows_are_fewer_than_dimensions(rows: int) -> None:
    """Distances of rows that the distributions were fitted to would be far too small here."""
    shares = []
    for seed in range(12):
        features, classes = blobs(rows, width=200, seed=seed)
        reference = fit_reference(features, classes, seed)
        assert reference is not None
        shares.append((reference.percentile(blobs(300, width=200, seed=100 + seed)[0]) >= 80).mean())
    assert np.mean(shares) == pytest.approx(0.2, abs=0.08)


def test_strangers_lie_further_away() -> None:
    reference = fitted()
    usual, classes = blobs(500, seed=1)
    strange = usual + 30 * torch.randn(6, generator=torch.Generator().manual_seed(5))
    assert (reference.percentile(strange) >= 99).mean() > 0.95
    assert separation(reference.distance(usual), reference.distance(strange))["value"] > 0.97
    # Between two classes, where the mean of all rows is, there is nothing usual either.
    middle = torch.stack([usual[classes == label].mean(dim=0) for label in (0, 1)]).mean(dim=0, keepdim=True)
    assert reference.percentile(middle)[0] >= 99


@pytest.mark.parametrize("classes", [None, torch.arange(50)], ids=["one class", "a class for each row"])
def test_one_distribution_where_there_are_no_classes_to_speak_of(classes: Tensor | None) -> None:
    features, _ = blobs(50, classes=1)
    reference = fit_reference(features, classes)
    assert reference is not None
    assert len(reference.centres) == 1


@pytest.mark.parametrize(
    "features",
    [torch.randn(19, 4), torch.ones(100, 4), torch.full((100, 4), float("nan"))],
    ids=["few", "alike", "nan"],
)
def test_what_says_nothing_gives_no_reference(features: Tensor) -> None:
    assert fit_reference(features, None) is None


def test_a_feature_that_never_varies_makes_nothing_infinite() -> None:
    features, classes = blobs(300)
    features[:, 2] = 1.0
    reference = fit_reference(features, classes)
    assert reference is not None
    assert np.isfinite(reference.distance(blobs(20, seed=3)[0])).all()


def test_it_follows_from_the_rows_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two = fitted(300), fitted(300)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(getattr(one, name), getattr(two, name)) for name in one.__dataclass_fields__)


def test_what_is_written_is_read_again_and_small(tmp_path: Path) -> None:
    reference = fitted(3000, width=512, classes=10)
    assert read_reference(tmp_path) is None
    reference.write(tmp_path)
    again = read_reference(tmp_path)
    assert again is not None
    rows = blobs(40, width=512, classes=10, seed=2)[0]
    assert again.percentile(rows).tolist() == reference.percentile(rows).tolist()
    assert (tmp_path / FILE).stat().st_size < 500_000
    (tmp_path / FILE).write_bytes(b"x" * 40)
    with pytest.raises(RunError, match="damaged"):
        read_reference(tmp_path)


def test_separation_is_the_chance_to_lie_further_away() -> None:
    usual, other = np.array([1.0, 2.0, 2.0]), np.array([2.0, 3.0])
    pairs = np.mean([(b > a) + 0.5 * (b == a) for a in usual for b in other])
    found = separation(usual, other)
    assert found["value"] == pytest.approx(pairs)
    assert found["low"] < found["value"] < found["high"] <= 1
    assert separation(usual, usual)["value"] == pytest.approx(0.5)
    assert separation(usual, np.zeros(0))["value"] is None


def test_its_interval_covers() -> None:
    """The AUROC of two normal distributions one standard deviation apart is 0.7602."""
    draw = np.random.default_rng(0)
    found = [separation(draw.normal(size=40), draw.normal(1, 1, size=60)) for _ in range(300)]
    held = np.mean([each["low"] <= 0.7602 <= each["high"] for each in found])
    assert held == pytest.approx(0.95, abs=0.04)


def test_what_enters_the_head_is_seen_while_it_lasts() -> None:
    module = nn.Sequential(nn.Linear(4, 3), Head(3, 2))
    with entering_head(module) as entering:
        module(torch.ones(5, 4))
        assert torch.allclose(entering.features(), module[0](torch.ones(5, 4)))
    seen = entering.latest
    module(torch.zeros(5, 4))
    assert entering.latest is seen
    assert out_of_distribution.FOLDS > 1
