"""Intervals of many figures at once, against the slow way and against truth."""

from __future__ import annotations

import numpy as np
import pytest

from unfreeze.evaluation import resampling
from unfreeze.evaluation.resampling import resample
from unfreeze.tasks._bootstrap import bootstrap


def test_it_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=(300, 2))
    found = resample(values, 2000, seed=1)
    slow = bootstrap(lambda rows: {"mean": float(values[rows, 0].mean())}, 300, 2000, seed=1)["mean"]
    figure = found.column(0)
    assert figure["value"] == pytest.approx(values[:, 0].mean())
    assert (figure["low"], figure["high"]) == pytest.approx(slow)
    assert found.share(0, 1)["value"] == pytest.approx(values[:, 0].mean() / values[:, 1].mean())
    assert found.part(slice(1, 2)).column(0) == found.column(1)


def test_draws_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 3))
    whole = resample(values, 40, seed=2).draws
    monkeypatch.setattr(resampling, "CELLS", 100)
    assert resample(values, 40, seed=2).draws == pytest.approx(whole)


def test_many_rows_are_drawn_in_part_and_the_interval_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(4000, 1))
    whole = resample(values, 500, seed=3).column(0)
    monkeypatch.setattr(resampling, "LARGEST", 400)
    part = resample(values, 500, seed=3).column(0)
    assert part["high"] - part["low"] == pytest.approx(whole["high"] - whole["low"], rel=0.15)


def test_without_resamples_there_is_no_interval() -> None:
    assert resample(np.ones((5, 1)), 0, seed=0).column(0) == {"value": 1.0, "low": None, "high": None}


def test_the_interval_of_a_sum_of_differences_holds_its_estimate() -> None:
    """Of a model without any calibration error the plain percentiles lie above the estimate."""
    columns = np.random.default_rng(0).normal(size=(200, 15))
    columns -= 0.9 * columns.mean(axis=0)

    def total(means: np.ndarray) -> np.ndarray:
        return np.abs(means).sum(axis=-1)

    found = resample(columns, 400, seed=0)
    plain, shifted = found.figure(total), found.figure(total, biased=True)
    assert plain["low"] > plain["value"]
    assert shifted["low"] < shifted["value"] < shifted["high"]


def test_a_share_of_nothing_has_no_value() -> None:
    found = resample(np.zeros((10, 2)), 20, seed=0).share(0, 1)
    assert not np.isfinite(found["value"])
    assert found["low"] is None
