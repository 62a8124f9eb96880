"""Forgetting: nothing where nothing moved, drift with and without a source, a loss that was planted, held-out rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from collecting import ASKED, only
from small import fit_images, fit_text, pictures, sentences, weights

from unfreeze.evidence._context import Context
from unfreeze.evidence._features import head_features
from unfreeze.evidence.forgetting import collect, drift
from unfreeze.run import Run
from unfreeze.train.rehearsal import Rehearsal


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose label is their kind, in columns of other names."""
    path = tmp_path_factory.mktemp("source") / "source.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("sentence", "kind"), *sentences(160, seed=5)])
    return path


def told(home: Path, folder: Path, **options: Any) -> tuple[dict[str, Any], Context]:
    with only("forgetting") as contexts:
        run: Run = fit_text(home, folder, **{"epochs": 1, **ASKED, **options})
    return run.evidence["forgetting"], contexts[0]


def test_the_same_features_have_not_drifted() -> None:
    features = torch.randn(50, 6)
    found = drift(features, features.clone(), 100, 0)
    assert found["cka"]["value"] == found["neighbours"]["value"] == 1
    assert found["cosine"]["value"] == pytest.approx(1)
    assert found["k"] == 10
    other = drift(features, torch.randn(50, 6), 100, 0)
    assert other["neighbours"]["low"] < other["chance"] + 0.1
    assert other["cka"]["value"] < 0.3


def test_few_rows_are_no_error() -> None:
    found = drift(torch.randn(2, 3), torch.randn(2, 3), 10, 0)
    assert found["cka"] is None
    assert found["k"] == 1
    assert drift(torch.randn(1, 3), torch.randn(1, 3), 10, 0)["neighbours"] is None


def test_where_only_the_head_learned_nothing_is_measured(home: Path, tmp_path: Path) -> None:
    found, _ = told(home, tmp_path / "run", method="head")
    assert found == {"unchanged": True}


def test_what_began_at_random_has_nothing_to_forget(home: Path, tmp_path: Path) -> None:
    with only("forgetting"):
        run = fit_text(home, tmp_path / "run", method="scratch", **{**ASKED, "epochs": 1})
    assert "forgetting" not in run.evidence


def test_without_a_source_drift_is_told_of_validation(home: Path, tmp_path: Path) -> None:
    found, _ = told(home, tmp_path / "run", method="full", epochs=4)
    assert found["drift"]["on"] == "validation"
    assert found["drift"]["rows"] == 18
    assert 0 < found["drift"]["cosine"]["value"] < 1
    assert "no source set was named" in found["why_no_retention"]
    assert "retention" not in found


def test_a_labelled_source_has_retention_with_intervals(home: Path, tmp_path: Path, source: Path) -> None:
    found, _ = told(home, tmp_path / "run", method="full", epochs=4, evaluation__source=source)
    kept = found["retention"]
    assert found["drift"]["on"] == "source"
    assert (kept["source"], kept["task"], kept["labels"], kept["metric"]) == (
        "source.csv",
        "classification",
        3,
        "accuracy",
    )
    assert kept["rows"] == found["drift"]["rows"] == 80
    assert kept["chance"] == pytest.approx(1 / 3, abs=0.05)
    for name in ("before", "after", "unfitted", "difference", "unfitted_difference"):
        assert kept[name]["low"] <= kept[name]["value"] <= kept[name]["high"]
    assert kept["difference"]["value"] == pytest.approx(kept["after"]["value"] - kept["before"]["value"])


def test_weights_that_were_destroyed_show_as_a_loss(home: Path, tmp_path: Path, source: Path) -> None:
    """The embeddings are set to one and the same: no probe can read anything from them."""
    _, context = told(home, tmp_path / "run", method="full", evaluation__source=source)
    with torch.no_grad():
        table = context.pretrained.module.backbone.embeddings.word_embeddings.weight
        table.copy_(table[:1].expand_as(table))
    found = collect(context)
    assert found is not None
    assert found["retention"]["difference"]["high"] < 0
    assert found["retention"]["after"]["value"] < found["retention"]["before"]["value"] - 0.2
    assert found["drift"]["neighbours"]["value"] < 0.5


def test_a_source_without_labels_and_one_that_is_not_there(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text",), *((text,) for text, _ in sentences(120, seed=6))])
    found, _ = told(home, tmp_path / "run", method="full", evaluation__source=path)
    assert found["drift"]["on"] == "source"
    assert "retention" not in found
    assert found["why_no_retention"]
    found, _ = told(home, tmp_path / "other", method="full", evaluation__source=tmp_path / "nowhere.csv")
    assert found["drift"]["on"] == "validation"
    assert "nowhere.csv" in found["why_no_retention"]


def test_what_a_method_put_in_can_be_taken_out(home: Path, tmp_path: Path) -> None:
    """BitFit picks out biases of the model itself, which cannot be taken out; what an adapter adds can."""
    for method, removable in (("bitfit", False), ("adapter", True)):
        found, _ = told(home, tmp_path / method, method=method, epochs=3)
        assert found["removable"] is removable
        assert found["drift"]["cosine"]["value"] < 1


def test_no_row_that_is_rehearsed_is_measured_on(
    home: Path, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[Any]] = []

    def noted(pretrained: Any, working: Any, inputs: list[Any], batch_size: int) -> torch.Tensor:
        read.append(list(inputs))
        return head_features(pretrained, working, inputs, batch_size)

    monkeypatch.setattr("unfreeze.evidence.forgetting.head_features", noted)
    found, context = told(home, tmp_path / "run", method="full", evaluation__source=source, method__rehearsal=0.3)
    hook = next(hook for hook in context.job.hooks if isinstance(hook, Rehearsal))
    before, after = read
    assert before == after
    assert len(before) == found["retention"]["rows"] == 80
    assert not set(before) & set(hook.feed.examples.inputs)


def test_images_have_both_too(home: Path, tmp_path: Path) -> None:
    others = pictures(tmp_path / "others", per_class=45, first=100)
    with only("forgetting"):
        run = fit_images(home, tmp_path / "run", method="full", epochs=1, evaluation__source=others, **ASKED)
    found = run.evidence["forgetting"]
    assert found["retention"]["labels"] == 2
    assert found["retention"]["before"]["value"] > 0.8
    assert found["drift"]["on"] == "source"


def test_collecting_leaves_the_model_as_it_was(home: Path, tmp_path: Path, source: Path) -> None:
    _, context = told(home, tmp_path / "run", method="full", evaluation__source=source)
    saved = weights(context.folder)
    state = context.pretrained.module.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in saved.items())
