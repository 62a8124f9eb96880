"""Errors of predicted numbers: a planted bias is found, and where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.evidence.residuals import MOST_POINTS, mean_with_interval, residuals


def test_planted_bias_is_found_where_it_lies() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 100, 2000)
    predicted = true + rng.normal(0, 1, 2000) + np.where(true > 80, 5.0, 0.0)
    found = residuals(true, predicted, 200, 0)
    assert found["bias"]["low"] <= 1.0 <= found["bias"]["high"]
    biased = [part for part in found["ranges"] if part["error"]["low"] > 2]
    assert [part["from"] > 80 for part in biased] == [True] * len(biased)
    assert len(biased) == 2
    assert sum(part["rows"] for part in found["ranges"]) == 2000


def test_quantiles_histogram_and_points() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.normal(size=3000), rng.normal(size=3000)
    found = residuals(true, predicted, 20, 0)
    assert found["quantiles"]["0.5"] == pytest.approx(np.median(np.abs(predicted - true)))
    assert len(found["points"]) == MOST_POINTS
    assert set(map(tuple, found["points"])) <= set(zip(true.tolist(), predicted.tolist(), strict=True))
    counts, edges = found["histogram"]["counts"], found["histogram"]["edges"]
    assert sum(counts) + found["histogram"]["outside"] == 3000
    assert len(edges) == len(counts) + 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), min_size=1, max_size=30))
def test_any_numbers(pairs: list[tuple[float, float]]) -> None:
    true, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    found = residuals(true, predicted, 10, 0)
    assert sum(found["histogram"]["counts"]) + found["histogram"]["outside"] == len(pairs)
    assert found["bias"]["value"] == pytest.approx(float((predicted - true).mean()), rel=1e-6, abs=1e-6)


def test_many_rows_have_the_interval_of_few() -> None:
    values = np.random.default_rng(2).exponential(size=20_000)
    exact = mean_with_interval(values, 900, np.random.default_rng(0))
    normal = mean_with_interval(values, 2000, np.random.default_rng(0))  # more cells than are drawn at once
    for name in ("low", "high"):
        assert normal[name] == pytest.approx(exact[name], rel=0.003)  # type: ignore[arg-type]
    assert mean_with_interval(values[:1], 100, np.random.default_rng(0))["low"] is None
