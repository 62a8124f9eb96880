from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from unfreeze.data.manifest import Manifest
from unfreeze.evaluation.intervals import with_intervals
from unfreeze.tasks import TASKS
from unfreeze.tasks._bootstrap import bootstrap

seeds = st.integers(0, 10_000)


def manifest(classes: int) -> Manifest:
    labels = tuple(f"l{index}" for index in range(classes))
    return Manifest("s", "text", "t", "", (), labels, {}, {}, "", "f", target_mean=3.0, target_scale=2.0)


def scored(task: str, outputs: torch.Tensor, targets: torch.Tensor, classes: int, pieces: int = 3) -> object:
    scorer = TASKS.get(task).scorer(manifest(classes))
    for part in torch.arange(len(outputs)).chunk(pieces):
        scorer.update(outputs[part], targets[part])
    return scorer


@settings(max_examples=25, deadline=None)
@given(seed=seeds, rows=st.integers(1, 60), classes=st.integers(2, 7))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_classification_against_sklearn(seed: int, rows: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, classes, generator=generator)
    targets = torch.randint(0, classes, (rows,), generator=generator)
    found = scored("classification", outputs, targets, classes).compute()  # type: ignore[attr-defined]
    true, predicted = targets.numpy(), outputs.argmax(-1).numpy()
    shares = outputs.double().softmax(-1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
    labels = list(range(classes))
    assert found["nll"] == pytest.approx(
        sk.log_loss(true, (shares / shares.sum(-1, True)).numpy(), labels=labels), 1e-4
    )


@settings(max_examples=25, deadline=None)
@given(seed=seeds, rows=st.integers(2, 60), classes=st.integers(1, 6), ties=st.booleans())
def test_multilabel_against_sklearn(seed: int, rows: int, classes: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, classes, generator=generator).half().float()
    outputs = outputs.round() if ties else outputs
    targets = torch.randint(0, 2, (rows, classes), generator=generator).float()
    targets[0] = 1
    found = scored("multilabel", outputs, targets, classes).compute()  # type: ignore[attr-defined]
    true, predicted = targets.numpy().astype(int), (outputs >= 0).numpy().astype(int)
    assert found["micro_f1"] == pytest.approx(sk.f1_score(true.ravel(), predicted.ravel(), zero_division=0))
    each = [sk.f1_score(true[:, i], predicted[:, i], zero_division=0) for i in range(classes)]
    assert found["macro_f1"] == pytest.approx(np.mean(each))
    assert found["subset_accuracy"] == pytest.approx((true == predicted).all(1).mean())
    precisions = [sk.average_precision_score(true[:, i], outputs[:, i].numpy()) for i in range(classes)]
    assert found["mean_average_precision"] == pytest.approx(np.mean(precisions))


@settings(max_examples=25, deadline=None)
@given(seed=seeds, rows=st.integers(3, 60))
def test_regression_against_sklearn_in_the_targets_unit(seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    outputs, targets = torch.randn(rows, 1, generator=generator), torch.randn(rows, generator=generator)
    found = scored("regression", outputs, targets, 0).compute()  # type: ignore[attr-defined]
    true, predicted = targets.double().numpy() * 2 + 3, outputs[:, 0].double().numpy() * 2 + 3
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(true, predicted))
    assert found["rmse"] == pytest.approx(sk.mean_squared_error(true, predicted) ** 0.5)
    assert found["r2"] == pytest.approx(sk.r2_score(true, predicted))
    assert found["spearman"] == pytest.approx(stats.spearmanr(true, predicted).statistic)


def test_a_constant_prediction_orders_nothing() -> None:
    found = scored("regression", torch.zeros(5, 1), torch.arange(5.0), 0).compute()  # type: ignore[attr-defined]
    assert found["spearman"] == 0


def test_calibration_error_of_known_cases() -> None:
    sure = torch.tensor([[50.0, 0.0]]).repeat(10, 1)
    wrong_half = torch.tensor([0, 1] * 5)
    assert scored("classification", sure, wrong_half, 2).compute()["ece"] == pytest.approx(0.5)  # type: ignore[attr-defined]
    assert scored("classification", sure, wrong_half * 0, 2).compute()["ece"] == pytest.approx(0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_pieces_do_not_matter_and_no_rows_give_nothing(task: str) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(20, TASKS.get(task).outputs(manifest(3)), generator=generator)
    shape = {"classification": (20,), "multilabel": (20, 3), "regression": (20,)}[task]
    targets = torch.randint(0, 2, shape, generator=generator)
    one, many = (scored(task, outputs, targets, 3, pieces) for pieces in (1, 7))
    assert one.compute() == many.compute()  # type: ignore[attr-defined]
    empty = TASKS.get(task).scorer(manifest(3))
    assert empty.compute() == {}
    assert empty.intervals(10, 0) == {}


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_intervals_hold_the_estimate_follow_the_seed_and_can_be_off(task: str) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(200, TASKS.get(task).outputs(manifest(3)), generator=generator)
    shape = {"classification": (200,), "multilabel": (200, 3), "regression": (200,)}[task]
    scorer = scored(task, outputs, torch.randint(0, 2, shape, generator=generator), 3)
    found, metrics = scorer.intervals(100, 1), scorer.compute()  # type: ignore[attr-defined]
    assert found.keys() == metrics.keys()
    for name in metrics:
        assert found[name][0] <= metrics[name] <= found[name][1]
        assert found[name][0] < found[name][1]
    assert found == scorer.intervals(100, 1)  # type: ignore[attr-defined]
    assert found != scorer.intervals(100, 2)  # type: ignore[attr-defined]
    assert scorer.intervals(0, 1) == {}  # type: ignore[attr-defined]


def test_width_is_that_of_the_normal_approximation_also_when_resamples_are_smaller() -> None:
    right = np.random.default_rng(0).random(4000) < 0.8
    half = 1.96 * (right.mean() * (1 - right.mean()) / 4000) ** 0.5
    for largest in (4000, 500):
        low, high = bootstrap(lambda drawn: {"rate": float(right[drawn].mean())}, 4000, 1000, 0, largest)["rate"]
        assert (high - low) / 2 == pytest.approx(half, rel=0.12)


def test_intervals_cover_about_95_percent() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        sample = rng.random(100) < 0.7

        def rate(drawn: np.ndarray, sample: np.ndarray = sample) -> dict[str, float]:
            return {"rate": float(sample[drawn].mean())}

        low, high = bootstrap(rate, 100, 200, seed)["rate"]
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99


@pytest.mark.parametrize("right", [10, 0])
def test_ten_of_ten_rows_are_no_certainty(right: int) -> None:
    """Every resample of rows that are all right is all right too; the interval is then that of Wilson."""
    targets = torch.arange(10) % 2
    given = targets if right else 1 - targets
    found = with_intervals(scored("classification", 9.0 * torch.eye(2)[given], targets, 2), 200, 0)  # type: ignore[arg-type]
    wanted = stats.binomtest(right, 10).proportion_ci(method="wilson")
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found[name]["value"] == right / 10
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


@pytest.mark.parametrize("right", [10, 0])
def test_ten_of_ten_rows_with_all_labels_right_are_no_certainty(right: int) -> None:
    targets = (torch.arange(30).reshape(10, 3) % 2).float()
    outputs = (8 * targets - 4) * (1 if right else -1)
    found = with_intervals(scored("multilabel", outputs, targets, 3), 200, 0)  # type: ignore[arg-type]
    wanted = stats.binomtest(right, 10).proportion_ci(method="wilson")
    for name in ("subset_accuracy", "micro_f1", "macro_f1"):
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((wanted.low, wanted.high), abs=1e-6)


def test_a_rare_class_that_is_always_right_makes_balanced_accuracy_no_surer() -> None:
    """Of 2 and 98 rows the mean of both recalls is as sure as one share of about 8 rows."""
    targets = torch.tensor([0] * 2 + [1] * 98)
    found = with_intervals(scored("classification", 9.0 * torch.eye(2)[targets], targets, 2), 50, 0)  # type: ignore[arg-type]
    assert found["accuracy"]["low"] > 0.95
    assert found["balanced_accuracy"]["low"] == pytest.approx(1 / (1 + 1.96**2 / 7.84), abs=0.01)


def test_an_interval_that_follows_from_the_answer_stays_without_width() -> None:
    """Always the same answer of two finds one class whole and the other never: balanced accuracy is 0.5, surely."""
    outputs, targets = torch.tensor([[1.0, 0.0]]).repeat(40, 1), torch.arange(40) % 2
    found = with_intervals(scored("classification", outputs, targets, 2), 100, 0)  # type: ignore[arg-type]
    assert found["balanced_accuracy"] == {"value": 0.5, "low": 0.5, "high": 0.5}
