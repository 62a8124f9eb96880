from __future__ import annotations

import pytest
import torch

from unfreeze.data.manifest import Manifest
from unfreeze.errors import PreflightError
from unfreeze.tasks import TASKS

LABELS = ("joy", "anger", "fear")


def manifest(counts: dict[str, int] | None = None, labels: tuple[str, ...] = LABELS) -> Manifest:
    return Manifest(
        "s", "text", "t", "", (), labels, {}, {"train": counts or {}}, "", "f", target_mean=10.0, target_scale=4.0
    )


@pytest.mark.parametrize(("task", "target"), [("classification", "Angr"), ("multilabel", ("joy", "Angr"))])
def test_a_label_absent_from_the_head_is_an_error_that_names_the_nearest(task: str, target: object) -> None:
    with pytest.raises(PreflightError, match=r"'Angr'.*Did you mean 'anger'\?"):
        TASKS.get(task).encode(target, manifest())  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [float("nan"), float("inf"), "many", ("1",)])
def test_regression_refuses_what_is_not_a_finite_number(target: object) -> None:
    with pytest.raises(PreflightError, match="finite number"):
        TASKS.get("regression").encode(target, manifest())  # type: ignore[arg-type]


def test_classification_round_trip() -> None:
    task = TASKS.get("classification")
    for label in LABELS:
        outputs = task.soften(task.encode(label, manifest())[None], manifest()) * 9
        row = task.decode(outputs, manifest())[0]
        assert row["prediction"] == label
        assert set(row["probabilities"]) == set(LABELS)
        assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_two_manifests_with_other_labels_do_not_share_positions() -> None:
    task = TASKS.get("classification")
    assert int(task.encode("joy", manifest())) == 0
    assert int(task.encode("joy", manifest(labels=("fear", "joy")))) == 1


def test_multilabel_round_trip_also_without_labels() -> None:
    task = TASKS.get("multilabel")
    for labels in [(), ("joy",), ("joy", "fear")]:
        encoded = task.encode(labels, manifest())
        assert encoded.shape == (3,)
        assert task.decode((encoded[None] - 0.5) * 9, manifest())[0]["prediction"] == list(labels)


def test_regression_is_standardised_and_comes_back() -> None:
    task = TASKS.get("regression")
    encoded = task.encode(18.0, manifest())
    assert float(encoded) == 2.0
    assert task.decode(encoded[None, None], manifest())[0]["prediction"] == pytest.approx(18.0)


@pytest.mark.parametrize(
    ("task", "train", "prediction"),
    [
        ("classification", ["fear", "joy", "fear", "anger"], "fear"),
        ("multilabel", [("joy",), ("joy", "fear"), ("joy",), ()], ["joy"]),
        ("regression", [1.0, 2.0, 6.0], 3.0),
    ],
)
def test_baselines(task: str, train: list[object], prediction: object) -> None:
    chosen = TASKS.get(task)
    _, outputs = chosen.baseline(train, manifest())  # type: ignore[arg-type]
    assert outputs.shape == (chosen.outputs(manifest()),)
    assert outputs.isfinite().all()
    decoded = chosen.decode(outputs[None], manifest())[0]["prediction"]
    assert decoded == (pytest.approx(prediction) if task == "regression" else prediction)


def test_show_says_label_and_guess() -> None:
    task = TASKS.get("classification")
    outputs = torch.tensor([0.0, 5.0, 0.0])
    assert task.show(outputs, torch.tensor(0), manifest()) == "target 'joy'; the model says 'anger' (99%)"
    soft = torch.tensor([0.25, 0.75, 0.0])
    assert task.show(outputs, soft, manifest()).startswith("target 0.25 'joy' + 0.75 'anger'")
    assert TASKS.get("multilabel").show(outputs - 1, torch.zeros(3), manifest()) == (
        "target no label; the model says 'anger'"
    )
    assert TASKS.get("regression").show(torch.tensor([1.0]), torch.tensor(2.0), manifest()) == (
        "target 18; the model says 14"
    )


def test_imbalance_changes_the_default_metric() -> None:
    task = TASKS.get("classification")
    assert task.default_metric(manifest({"joy": 10, "anger": 9, "fear": 8})) == "accuracy"
    assert task.default_metric(manifest({"joy": 30, "anger": 9, "fear": 8})) == "macro_f1"
