"""Figures of each class against scikit-learn's and scipy's, and what intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from unfreeze.evidence.per_class import (
    LARGEST_MATRIX,
    MOST_CONFUSED,
    confusion,
    counts_of_classes,
    curves,
    figures_of_classes,
    wilson,
)


def drawn(rows: int, classes: int, seed: int = 0, right: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, rows)
    guess = np.where(rng.random(rows) < right, true, rng.integers(0, classes, rows))
    return true, guess


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_figures_are_scikit_learns(classes: int) -> None:
    true, guess = drawn(400, classes)
    labels = [f"label {number}" for number in range(classes)]
    found = figures_of_classes(labels, *counts_of_classes(true, guess, classes))
    wanted = precision_recall_fscore_support(true, guess, labels=range(classes), zero_division=np.nan)
    for place, each in enumerate(found):
        for name, values in zip(("precision", "recall", "f1"), wanted[:3], strict=True):
            assert each[name]["value"] == pytest.approx(values[place])
            assert each[name]["low"] <= each[name]["value"] <= each[name]["high"]
        assert each["rows"] == wanted[3][place]


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilson_is_scipys(hits: int, more: int) -> None:
    rows = hits + more
    share, low, high = wilson(np.array([hits]), np.array([rows]))[0]
    if not rows:
        assert np.isnan([share, low, high]).all()
        return
    wanted = binomtest(hits, rows).proportion_ci(method="wilson")
    assert (low, high) == (pytest.approx(wanted.low, abs=1e-9), pytest.approx(wanted.high, abs=1e-9))


def test_perfect_class_of_few_rows_is_not_told_as_certain() -> None:
    each = figures_of_classes(["a"], np.array([4]), np.array([4]), np.array([4]))[0]
    for name in ("precision", "recall", "f1"):
        assert each[name]["value"] == 1
        assert each[name]["low"] < 0.8


def test_class_that_is_never_given_has_no_precision() -> None:
    each = figures_of_classes(["a"], np.array([0]), np.array([9]), np.array([0]))[0]
    assert each["precision"] == {"value": None, "low": None, "high": None}
    assert each["f1"]["value"] == 0
    assert each["f1"]["high"] > 0.2


def test_intervals_of_f1_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    shares = np.array([0.18, 0.06, 0.09, 0.67])  # right, missed, wrongly given, the rest
    truth = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    hits, missed, added, _ = rng.multinomial(80, shares, size=4000).T
    found = figures_of_classes([""] * 4000, hits, hits + missed, hits + added)
    covered = np.mean([each["f1"]["low"] <= truth <= each["f1"]["high"] for each in found])
    assert 0.93 <= covered <= 0.97


def test_confusions_are_scikit_learns() -> None:
    true, guess = drawn(500, 6)
    labels = list("abcdef")
    found = confusion(true, guess, labels)
    matrix = confusion_matrix(true, guess, labels=range(6))
    assert found["matrix"] == matrix.tolist()
    off = matrix - np.diag(np.diag(matrix))
    assert found["mistakes"] == off.sum()
    assert found["confused"][0]["count"] == off.max()
    assert sum(pair["count"] for pair in found["confused"]) == off.sum()
    first = found["confused"][0]
    assert matrix[labels.index(first["true"]), labels.index(first["predicted"])] == first["count"]
    assert first["of"] == (true == labels.index(first["true"])).sum()


def test_many_classes_have_no_matrix_and_few_pairs() -> None:
    true, guess = drawn(5000, LARGEST_MATRIX + 1)
    found = confusion(true, guess, [str(number) for number in range(LARGEST_MATRIX + 1)])
    assert "matrix" not in found
    assert len(found["confused"]) == MOST_CONFUSED
    counts = [pair["count"] for pair in found["confused"]]
    assert counts == sorted(counts, reverse=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.booleans())
def test_curves_lie_on_scikit_learns(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((60, 2)) < 0.3
    scores = rng.normal(size=(60, 2)) + truth
    scores = scores.round(1) if ties else scores
    for each, column in zip(curves(["a", "b"], truth, scores.astype(np.float32), 20, 0), (0, 1), strict=False):
        column = ["a", "b"].index(each["label"])
        wanted = average_precision_score(truth[:, column], scores[:, column].astype(np.float32))
        assert each["average_precision"]["value"] == pytest.approx(wanted, abs=1e-6)
        precision, recall, _ = precision_recall_curve(truth[:, column], scores[:, column].astype(np.float32))
        points = {(round(r, 4), round(p, 4)) for r, p in zip(recall, precision, strict=True)}
        assert set(zip(each["recall"], each["precision"], strict=True)) <= points
        assert each["recall"] == sorted(each["recall"])
        assert each["recall"][-1] == 1


def test_class_that_does_not_occur_has_no_curve() -> None:
    truth = np.array([[True, False]] * 3 + [[False, False]] * 3)
    found = curves(["a", "b"], truth, np.zeros((6, 2), dtype=np.float32), 20, 0)
    assert [each["label"] for each in found] == ["a"]
