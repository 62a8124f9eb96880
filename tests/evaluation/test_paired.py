"""Two runs on the same rows: what differs is found, what chance explains is not, whatever the order of rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from unfreeze.errors import RunError
from unfreeze.evaluation.paired import Difference, chance_of_gain, compare, holm, match, read_predictions

LABELS = ("a", "b", "c")


def rows_of(right: np.ndarray, seed: int = 0) -> list[dict[str, Any]]:
    """Predictions that are right where `right` says, over targets that are always the same."""
    targets = np.random.default_rng(99).integers(0, 3, len(right))
    draw = np.random.default_rng(seed)
    found = []
    for row, (target, good) in enumerate(zip(targets, right, strict=True)):
        given_ = target if good else (target + 1 + draw.integers(0, 2)) % 3
        shares = {LABELS[place]: 0.6 if place == given_ else 0.2 for place in range(3)}
        found.append(
            {
                "origin": f"t.csv, line {row}",
                "target": LABELS[target],
                "prediction": LABELS[given_],
                "probabilities": shares,
            }
        )
    return found


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, rows: list[dict[str, Any]], labels: tuple[str, ...] = LABELS):  # type: ignore[no-untyped-def]
    return read_predictions(written(path, rows), "classification", labels)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    right = np.random.default_rng(1).random(300) < 0.7
    side = read(tmp_path / "a", rows_of(right))
    found = compare(side, side)
    assert found.same_test
    assert found.rows == 300
    for difference in found.differences.values():
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)
        assert not difference.clear


def test_planted_difference_is_found_with_its_size(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    one = draw.random(800) < 0.8
    two = one & (draw.random(800) < 0.93)
    found = compare(read(tmp_path / "a", rows_of(one, 1)), read(tmp_path / "b", rows_of(two, 2)))
    accuracy = found.differences["accuracy"]
    assert accuracy.value == pytest.approx(one.mean() - two.mean())
    assert accuracy.clear
    assert 0 < accuracy.low < accuracy.value < accuracy.high
    # the bootstrap's spread is that of paired rows, known in closed form for a share
    spread = (one.astype(float) - two).std(ddof=1) / 800**0.5
    assert accuracy.detectable == pytest.approx(2.8016 * spread, rel=0.1)
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_chance_is_called_different_as_seldom_as_it_says(tmp_path: Path) -> None:
    clear = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        sides = [read(tmp_path / name, rows_of(draw.random(120) < 0.7, seed)) for name in "ab"]
        clear += compare(*sides, resamples=200, seed=seed).differences["accuracy"].clear
    assert clear <= 8  # 3 expected; more than 8 has a probability of 0.002


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(30)), st.permutations(LABELS))
def test_order_of_rows_and_of_labels_does_not_matter(order: list[int], labels: list[str]) -> None:
    import tempfile

    draw = np.random.default_rng(3)
    one, two = rows_of(draw.random(30) < 0.8, 1), rows_of(draw.random(30) < 0.6, 2)
    with tempfile.TemporaryDirectory() as folder:
        plain = compare(read(Path(folder) / "a", one), read(Path(folder) / "b", two), resamples=30)
        turned = read(Path(folder) / "c", [two[place] for place in order], tuple(labels))
        mixed = compare(read(Path(folder) / "a", one), turned, resamples=30)
    assert mixed.differences == plain.differences
    assert mixed.same_test


def test_rows_that_only_one_run_has_are_told_and_left_out(tmp_path: Path) -> None:
    right = np.ones(50, dtype=bool)
    one, two = rows_of(right)[:40], rows_of(right)[10:]
    two[0]["target"] = next(label for label in LABELS if label != two[0]["target"])
    found = compare(read(tmp_path / "a", one), read(tmp_path / "b", two), resamples=10)
    assert (found.rows, found.only_first, found.only_second, found.changed) == (29, 10, 10, 1)
    assert not found.same_test


def test_rows_are_found_by_name_where_folders_differ(tmp_path: Path) -> None:
    right = np.ones(4, dtype=bool)
    one, two = rows_of(right), rows_of(right)
    for row in one:
        row["origin"] = f"/here/{row['origin']}"
    for row in two:
        row["origin"] = f"/there/{row['origin']}"
    left, other = match(read(tmp_path / "a", one), read(tmp_path / "b", two))
    assert left.tolist() == other.tolist() == [0, 1, 2, 3]


def test_rows_of_the_same_origin_are_told_apart_by_their_order(tmp_path: Path) -> None:
    rows = [{**row, "origin": "x"} for row in rows_of(np.ones(3, dtype=bool))]
    left, right = match(read(tmp_path / "a", rows), read(tmp_path / "b", rows))
    assert left.tolist() == right.tolist() == [0, 1, 2]


def test_tests_without_a_common_row(tmp_path: Path) -> None:
    one, two = rows_of(np.ones(3, dtype=bool)), rows_of(np.ones(3, dtype=bool))
    two = [{**row, "origin": f"other {place}"} for place, row in enumerate(two)]
    found = compare(read(tmp_path / "a", one), read(tmp_path / "b", two))
    assert found.rows == 0
    assert found.differences == {}


def test_other_tasks(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    true = draw.normal(100, 10, 200)
    numbers = [
        [
            {"origin": str(row), "target": value, "prediction": value + draw.normal(0, spread)}
            for row, value in enumerate(true)
        ]
        for spread in (1.0, 2.0)
    ]
    sides = [
        read_predictions(written(tmp_path / name, rows), "regression", ())
        for name, rows in zip("ab", numbers, strict=True)
    ]
    found = compare(*sides, resamples=200)
    assert set(found.differences) == {"mae", "rmse", "r2", "spearman"}
    assert found.differences["mae"].value < 0
    assert found.differences["mae"].clear

    truth = draw.random((100, 3)) < 0.4
    several = []
    for noise in (0.3, 3.0):
        scores = 1 / (1 + np.exp(-(4.0 * truth - 2 + draw.normal(0, noise, truth.shape))))
        several.append(
            [
                {
                    "origin": str(row),
                    "target": [LABELS[place] for place in np.flatnonzero(truth[row])],
                    "prediction": [LABELS[place] for place in np.flatnonzero(scores[row] >= 0.5)],
                    "probabilities": dict(zip(LABELS, scores[row].tolist(), strict=True)),
                }
                for row in range(100)
            ]
        )
    sides = [read_predictions(written(tmp_path / "a", several[0]), "multilabel", LABELS)]
    sides.append(read_predictions(written(tmp_path / "b", several[1]), "multilabel", LABELS[::-1]))
    found = compare(*sides, resamples=100)
    assert found.same_test
    assert found.differences["micro_f1"].clear
    assert found.differences["mean_average_precision"].value > 0.1


def test_a_probability_that_was_not_kept_takes_the_likelihood_away(tmp_path: Path) -> None:
    rows = rows_of(np.ones(10, dtype=bool))
    rows[0]["target"] = next(label for label in LABELS if label != rows[0]["prediction"])
    del rows[0]["probabilities"][rows[0]["target"]]
    found = compare(read(tmp_path / "a", rows), read(tmp_path / "b", rows), resamples=10)
    assert "nll" not in found.differences
    assert "accuracy" in found.differences


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    rows = rows_of(np.ones(3, dtype=bool))
    one = read(tmp_path / "a", rows)
    with pytest.raises(RunError, match="labels"):
        compare(one, read(tmp_path / "b", rows, (*LABELS, "d")))
    with pytest.raises(RunError, match="missing or damaged"):
        read_predictions(tmp_path / "nothing", "classification", LABELS)
    (tmp_path / "half").write_text('{"origin": "x", "tar', encoding="utf-8")
    with pytest.raises(RunError, match="missing or damaged"):
        read_predictions(tmp_path / "half", "classification", LABELS)


def test_holm_makes_several_tests_one() -> None:
    found = holm([Difference(1, 0, 2, p, 1) for p in (0.04, 0.01, 0.03, 0.9)])
    assert [round(each.p, 4) for each in found] == [0.09, 0.04, 0.09, 0.9]
    assert holm([]) == []
    assert math.isclose(holm([Difference(1, 0, 2, 0.04, 1)])[0].p, 0.04)


def split(tmp_path: Path, better: int, worse: int, rows: int = 100) -> dict[str, Difference]:
    """Two runs of which one is right on so many rows where the other is wrong, and the other way round."""
    one, two = np.ones(rows, dtype=bool), np.ones(rows, dtype=bool)
    two[:better] = False
    one[better : better + worse] = False
    return compare(read(tmp_path / "a", rows_of(one)), read(tmp_path / "b", rows_of(two))).differences


@pytest.mark.parametrize(("better", "worse", "clear"), [(4, 0, False), (5, 0, False), (6, 0, True), (20, 2, True)])
def test_shares_of_right_rows_are_told_apart_by_the_exact_test(
    tmp_path: Path, better: int, worse: int, clear: bool
) -> None:
    found = split(tmp_path, better, worse)["accuracy"]
    assert found.clear == clear
    assert found.p == pytest.approx(binomtest(better, better + worse).pvalue)
    assert found.value == pytest.approx((better - worse) / 100)
    assert found.low < found.value < found.high
    assert found.detectable >= 0.06, "fewer rows on which only one is right are never clear"


def test_other_metrics_are_tested_by_swapping_answers(tmp_path: Path) -> None:
    """Of four differing rows two ways of sixteen to deal them out are as far apart."""
    few, many = split(tmp_path, 4, 0), split(tmp_path, 20, 2)
    for name in ("balanced_accuracy", "macro_f1", "nll"):
        assert not few[name].clear
        assert few[name].p > 0.08
        assert many[name].clear


def test_gains_by_row_are_tested_exactly_or_by_their_signs() -> None:
    assert chance_of_gain(np.array([1.0] * 4 + [0.0] * 96)) == pytest.approx(0.125)
    assert chance_of_gain(np.array([1] * 20 + [-1] * 2)) == pytest.approx(binomtest(20, 22).pvalue)
    assert chance_of_gain(np.zeros(5)) == 1.0
    assert chance_of_gain(np.zeros(0)) == 1.0
    draw = np.random.default_rng(0)
    assert chance_of_gain(draw.normal(1.0, 1.0, 60)) < 0.01
    # As often below 0.1 as that says, where there is no gain.
    below = [chance_of_gain(draw.normal(0.0, 1.0, 30), seed, 199) < 0.1 for seed in range(200)]
    assert np.mean(below) == pytest.approx(0.1, abs=0.07)


def test_swaps_of_numbers_find_chance_as_often_as_they_say(tmp_path: Path) -> None:
    clear = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        true = draw.normal(0, 1, 40)
        sides = [
            read_predictions(
                written(
                    tmp_path / name,
                    [
                        {"origin": str(row), "target": value, "prediction": value + draw.normal()}
                        for row, value in enumerate(true)
                    ],
                ),
                "regression",
                (),
            )
            for name in "ab"
        ]
        clear += compare(*sides, resamples=99, seed=seed).differences["rmse"].clear
    assert clear <= 6  # 2 expected; more than 6 has a probability of 0.003
