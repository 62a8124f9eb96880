"""Temperatures, thresholds and intervals: planted ones are found again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfreeze.data.manifest import Manifest
from unfreeze.errors import RunError
from unfreeze.evaluation.calibration import (
    FILE,
    Calibration,
    abstain,
    decode,
    fit_temperature,
    fit_temperatures,
    is_right,
    radius_of,
    read_calibration,
    steps_of,
)
from unfreeze.tasks import TASKS


def manifest(task: str, labels: tuple[str, ...] = ("a", "b", "c"), **more: float) -> Manifest:
    return Manifest(
        "data.csv", "text", task, "said", (), labels if task != "regression" else (), {}, {}, "by seed", "0" * 64,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outputs that are the true log-odds, and labels drawn from them."""
    draw = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(rows, classes, generator=draw)
    return outputs, torch.multinomial(outputs.softmax(dim=1), 1, generator=draw)[:, 0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("classes", [2, 40])
def test_a_known_temperature_is_recovered(temperature: float, classes: int) -> None:
    outputs, targets = drawn(20_000, classes)
    assert fit_temperature(outputs * temperature, targets) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_where_the_likelihood_is_highest() -> None:
    outputs, targets = drawn(3000, 5, seed=1)
    outputs = outputs * 3

    def nll(temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(outputs.double() / temperature, targets))

    best = fit_temperature(outputs, targets)
    assert nll(best) < min(nll(best * 1.02), nll(best / 1.02))


def test_each_label_gets_its_own_temperature() -> None:
    draw = torch.Generator().manual_seed(2)
    planted = torch.tensor([0.5, 1.0, 3.0, 6.0])
    outputs = 2 * torch.randn(20_000, 4, generator=draw)
    targets = torch.bernoulli(outputs.sigmoid(), generator=draw)
    assert fit_temperatures(outputs * planted, targets) == pytest.approx(planted.tolist(), rel=0.08)


def test_rows_that_are_all_right_prove_no_certainty() -> None:
    outputs = torch.eye(3)[torch.arange(30) % 3] * 4
    temperature = fit_temperature(outputs, torch.arange(30) % 3)
    assert 0.2 < temperature < 5
    few = [fit_temperature(outputs[:rows] * 0.1, torch.arange(rows) % 3) for rows in (3, 30)]
    assert abs(math.log(few[0])) < abs(math.log(few[1])), "the fewer rows, the nearer to 1"


def test_a_rare_label_is_drawn_towards_the_others() -> None:
    draw = torch.Generator().manual_seed(3)
    outputs = 2 * torch.randn(60, 12, generator=draw)
    targets = torch.bernoulli(outputs.sigmoid(), generator=draw)
    outputs[:, 0], targets[:, 0] = -8.0, 0.0  # never occurs, and is never said
    found = fit_temperatures(outputs * 4, targets)
    assert 1 < found[0] < 12
    assert np.median(found) == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize("outputs", [torch.zeros(5, 3), torch.full((5, 3), float("nan"))])
def test_outputs_without_differences_stay_as_they_are(outputs: Tensor) -> None:
    assert fit_temperature(outputs, torch.zeros(5, dtype=torch.long)) == 1.0
    assert fit_temperatures(outputs, torch.zeros(5, 3)) == (1.0,) * 3


# ---------------------------------------------------------------------------------------------- predictions


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.floats(-40, 40, width=32), min_size=3, max_size=3), min_size=1, max_size=8),
    temperature=st.floats(0.01, 100),
)
def test_a_temperature_changes_no_prediction(rows: list[list[float]], temperature: float) -> None:
    outputs = torch.tensor(rows)
    for task, count in (("classification", 1), ("multilabel", 3)):
        entry, about = TASKS.get(task), manifest(task)
        calibration = Calibration(task, 10, (temperature,) * count)
        plain, told = entry.decode(outputs, about), decode(entry, outputs, about, calibration)
        assert [row["prediction"] for row in told] == [row["prediction"] for row in plain]
        assert decode(entry, outputs, about, None) == plain


def test_probabilities_are_those_of_the_divided_outputs() -> None:
    outputs, calibration = torch.tensor([[2.0, 0.0, -1.0]]), Calibration("classification", 10, (2.0,))
    told = decode(TASKS.get("classification"), outputs, manifest("classification"), calibration)[0]
    expected = (outputs / 2).softmax(dim=1)[0].tolist()
    assert told["probabilities"] == pytest.approx(dict(zip("abc", expected, strict=True)))
    assert calibration.confidence(outputs).tolist() == pytest.approx([expected[0]])
    several = Calibration("multilabel", 10, (1.0, 2.0, 0.5))
    assert several.confidence(outputs)[0] == pytest.approx(
        float(np.prod([1 / (1 + math.exp(-abs(value))) for value in (2.0, 0.0, 2.0)]))
    )


def test_a_number_gets_an_interval_in_its_own_unit() -> None:
    about = manifest("regression", target_mean=10.0, target_scale=2.0)
    row = decode(TASKS.get("regression"), torch.tensor([[1.0]]), about, Calibration("regression", 50, radius=3.0))[0]
    assert row == {"prediction": 12.0, "interval": {"low": 9.0, "high": 15.0, "level": 0.9}}
    bare = decode(TASKS.get("regression"), torch.tensor([[1.0]]), about, Calibration("regression", 3))[0]
    assert bare == {"prediction": 12.0}


def test_a_conformal_interval_holds_the_share_that_it_promises() -> None:
    draw = np.random.default_rng(0)
    held = [np.abs(draw.standard_cauchy(200)) <= (radius_of(draw.standard_cauchy(60), 0.8) or 0) for _ in range(200)]
    assert np.mean(held) == pytest.approx(0.8, abs=0.02)
    assert radius_of(np.arange(8.0), 0.9) is None, "nine rows are the fewest that can say so"
    assert radius_of(np.arange(9.0), 0.9) == 8.0


# -------------------------------------------------------------------------------------------------- abstaining


def test_thresholds_of_a_planted_table() -> None:
    sure = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, True, False, True, False])
    steps = steps_of(sure, right)
    # (errors + 1) / (answers + 1): all 3/7, five 2/6, four 2/5, three 1/4, one 1/2; useful: each lower than with more.
    assert [(step.threshold, step.rate) for step in steps] == [(0.5, 3 / 7), (0.6, 2 / 6), (0.8, 1 / 4)]
    assert [(step.coverage, step.error) for step in steps] == [(1.0, 2 / 6), (5 / 6, 1 / 5), (0.5, 0.0)]
    calibration = Calibration("classification", 6, (1.0,), steps=steps)
    assert calibration.step_for(0.35).threshold == 0.6
    assert calibration.step_for(0.3).threshold == 0.8
    with pytest.raises(RunError, match=r"cannot show an error rate of 0\.1: the lowest that they can show is 0\.25"):
        calibration.step_for(0.1)
    for rate in (0.0, 1.0, 7.0):
        with pytest.raises(RunError, match="between 0 and 1"):
            calibration.step_for(rate)
    with pytest.raises(RunError, match="interval instead"):
        Calibration("regression", 6).step_for(0.1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]), st.booleans()), min_size=1, max_size=40),
    st.floats(0.01, 0.9),
)
def test_a_threshold_keeps_what_it_promises_on_validation_and_answers_most(
    rows: list[tuple[float, bool]], rate: float
) -> None:
    sure, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    steps = steps_of(sure, right, (sure, right))
    assert [step.coverage for step in steps] == sorted((step.coverage for step in steps), reverse=True)
    assert [step.rate for step in steps] == sorted((step.rate for step in steps), reverse=True)

    def expected(threshold: float) -> float:
        answered = sure >= threshold
        return float(((~right[answered]).sum() + 1) / (answered.sum() + 1))

    allowed = [threshold for threshold in np.unique(sure) if expected(threshold) <= rate]
    found = next((step for step in steps if step.rate <= rate), None)
    assert (found is None) == (not allowed)
    if found is not None:
        assert found.threshold == min(allowed)
        assert found.rate == pytest.approx(expected(found.threshold))
        assert (found.test_coverage, found.test_error) == pytest.approx((found.coverage, found.error))


def test_of_very_many_thresholds_some_are_kept() -> None:
    draw = np.random.default_rng(0)
    sure = draw.random(20_000)
    steps = steps_of(sure, draw.random(20_000) < sure)
    assert 50 < len(steps) <= 200
    assert steps[0].coverage > 0.95


def test_abstaining_leaves_the_guess() -> None:
    steps = steps_of(np.array([0.9, 0.4]), np.array([True, True]))
    rows = abstain([{"prediction": "a"}, {"prediction": "b"}], np.array([0.95, 0.3]), steps[0])
    assert rows == [{"prediction": "a", "best_guess": "a"}, {"prediction": None, "best_guess": "b"}]


def test_rightness_is_of_the_whole_answer() -> None:
    outputs = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert is_right("multilabel", outputs, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).tolist() == [True, False]
    assert is_right("classification", outputs, torch.tensor([0, 1])).tolist() == [True, False]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    steps = steps_of(np.array([0.9, 0.4]), np.array([True, False]), (np.array([0.1]), np.array([True])))
    calibration = Calibration("classification", 2, (1.5,), steps=steps)
    assert read_calibration(tmp_path) is None
    calibration.write(tmp_path)
    assert read_calibration(tmp_path) == calibration
    values = json.loads((tmp_path / FILE).read_text())
    for damaged in ("[", json.dumps({**values, "format": 9}), json.dumps({"format": 1})):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(RunError, match="damaged"):
            read_calibration(tmp_path)
