"""Suspected label errors: flipped labels are found, clean ones left alone, and the table leaves them out again."""

from __future__ import annotations

import base64
import csv
import io
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from planted import planted
from small import fit_images, fit_text, pictures

from unfreeze.evidence import labels
from unfreeze.evidence._context import Context
from unfreeze.evidence._label_errors import (
    confident_share,
    judge_classes,
    judge_labels,
    judge_numbers,
    share_of_errors,
)
from unfreeze.evidence._linear import out_of_fold
from unfreeze.run import Run

Array = Any


def noisy(rows: int, classes: int, share: float, seed: int = 0) -> tuple[torch.Tensor, Array, Array]:
    """Features, given labels of which a share is wrong, and which are."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(classes, 16))
    true = draw.integers(0, classes, rows)
    features = 1.2 * centres[true] + draw.normal(size=(rows, 16))
    wrong = draw.random(rows) < share
    given = np.where(wrong, (true + draw.integers(1, classes, rows)) % classes, true)
    return torch.tensor(features).float(), given, wrong


def shares_of(features: torch.Tensor, given: Array, classes: int) -> Array:
    outputs = out_of_fold("classification", features, torch.tensor(given), classes, 5, 0)
    return outputs.double().softmax(dim=1).numpy()


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_flipped_labels_are_found(classes: int) -> None:
    features, given, wrong = noisy(1200, classes, 0.1)
    shares = shares_of(features, given, classes)
    judged = judge_classes(shares, given)
    hits = (judged.suspect & wrong).sum()
    assert hits / wrong.sum() > 0.75, "recall"
    assert hits / judged.suspect.sum() > 0.7, "precision"
    assert (judged.suggested[judged.suspect] != given[judged.suspect]).all()
    told = share_of_errors(shares, given, 100, 0)
    assert told["low"] is not None
    assert told["high"] is not None
    assert told["low"] < 0.1 < told["high"] + 0.03
    assert 0.07 < (told["value"] or 0) < 0.15


def test_clean_labels_are_left_alone() -> None:
    features, given, _ = noisy(1200, 3, 0.0)
    shares = shares_of(features, given, 3)
    assert judge_classes(shares, given).suspect.mean() < 0.02
    assert (share_of_errors(shares, given, 50, 0)["value"] or 0) < 0.02


def test_one_class_alone_is_never_suspected() -> None:
    judged = judge_classes(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([0, 0]))
    assert not judged.suspect.any()
    assert share_of_errors(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([0, 0]), 10, 0)["value"] is None


def test_missing_and_added_labels_are_found() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(1000, 12))
    true = features @ draw.normal(size=(12, 4)) > 0.8
    given = true.copy()
    wrong = draw.random(1000) < 0.1
    for row in np.flatnonzero(wrong):
        label = int(draw.integers(4))
        given[row, label] = not given[row, label]
    outputs = out_of_fold("multilabel", torch.tensor(features).float(), torch.tensor(given).float(), 4, 5, 0)
    judged = judge_labels(outputs.double().sigmoid().numpy(), given)
    assert (judged.suspect & wrong).sum() / wrong.sum() > 0.7
    assert (judged.suspect & wrong).sum() / judged.suspect.sum() > 0.6
    assert not judge_labels(np.full((5, 2), 0.1), np.zeros((5, 2), dtype=bool)).suspect.any()


@pytest.mark.parametrize("rows", [800, 4000])
def test_numbers_that_are_far_off_are_found(rows: int) -> None:
    draw = np.random.default_rng(0)
    true = draw.normal(50, 10, rows)
    wrong = draw.random(rows) < 0.05
    given = true + wrong * draw.choice([-1, 1], rows) * draw.uniform(12, 30, rows)
    judged = judge_numbers(true + draw.normal(size=rows) * 2, given)
    assert (judged.suspect == wrong).mean() > 0.99
    assert judged.score[wrong].mean() < judged.score[~wrong].mean()
    assert not judge_numbers(np.ones(50), np.ones(50)).suspect.any()


# ------------------------------------------------------------------------------------------------------ whole runs


def flipped(rows: int = 480, share: float = 0.08) -> tuple[list[dict[str, Any]], set[str]]:
    """Texts of two labels, of which some are wrong in every split; and the texts of those."""
    draw = random.Random(1)
    found = planted(rows, odd=0.0)
    wrong = set()
    for row in found:
        if draw.random() < share:
            row["label"] = {"bank": "film", "film": "bank"}[row["label"]]
            wrong.add(row["text"])
    return found, wrong


@pytest.fixture(scope="module")
def home_with_table(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    rows, wrong = flipped()
    path = tmp_path_factory.mktemp("flipped") / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path, wrong


@pytest.fixture(scope="module")
def run(home: Path, home_with_table: tuple[Path, set[str]], tmp_path_factory: pytest.TempPathFactory) -> Run:
    with only("labels"):
        output = tmp_path_factory.mktemp("labels") / "run"
        return fit_text(home, output, data=home_with_table[0], method="full", epochs=3, **ASKED)


def table(run: Run) -> list[dict[str, str]]:
    with (run.path / "evidence" / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_flipped_rows_are_found_in_every_split(run: Run, home_with_table: tuple[Path, set[str]]) -> None:
    wrong = home_with_table[1]
    found = {row["content"] for row in table(run)}
    assert len(found & wrong) / len(wrong) > 0.8, "recall"
    assert len(found & wrong) / len(found) > 0.8, "precision"
    assert {row["split"] for row in table(run)} == {"train", "validation", "test"}
    told = run.evidence["labels"]
    assert told["suspects"] == len(table(run))
    assert told["parts"]["train"]["rows"] == {"train": run.manifest.rows["train"]}
    assert 0.04 < told["parts"]["train"]["estimated"]["value"] < 0.14
    for part in told["parts"].values():
        assert part["agreement"] > 0.8
        assert part["examples"][0]["text"]


def test_the_table_is_for_review(run: Run) -> None:
    rows = table(run)
    assert all(row["keep"] == "" for row in rows)
    assert all({row["given"], row["suggested"]} == {"bank", "film"} for row in rows)
    train = [float(row["score"]) for row in rows if row["split"] == "train"]
    assert train == sorted(train)
    assert [row["split"] for row in rows[: len(train)]] == ["train"] * len(train)


def test_a_reviewed_table_leaves_them_out(
    home: Path, tmp_path: Path, run: Run, home_with_table: tuple[Path, set[str]]
) -> None:
    path, wrong = home_with_table
    reviewed = table(run)
    kept = [row for row in reviewed if row["content"] not in wrong]
    for row in reviewed:
        row["keep"] = "yes" if row["content"] not in wrong else "no"
    with (tmp_path / "reviewed.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(reviewed[0]))
        writer.writeheader()
        writer.writerows(reviewed)
    after = fit_text(home, tmp_path / "run", data=path, epochs=1, report=False, drop_suspects=tmp_path / "reviewed.csv")
    gone = {split: run.manifest.rows[split] - after.manifest.rows[split] for split in after.manifest.rows}
    counts = {split: sum(row["split"] == split and row["keep"] == "no" for row in reviewed) for split in gone}
    assert gone == counts
    assert sum(counts.values()) == len(reviewed) - len(kept)
    assert after.recipe.data.drop_suspects == str((tmp_path / "reviewed.csv").resolve())


def test_the_table_of_a_run_that_is_replaced_is_not_deleted(home: Path, run: Run) -> None:
    from unfreeze.errors import RunError

    suspects = str(run.path / "evidence" / "labels.csv")
    with pytest.raises(RunError, match="It is not replaced"):
        fit_text(home, run.path, data=run.recipe.data.path, epochs=1, overwrite=True, drop_suspects=suspects)


def test_training_rows_are_not_judged_by_what_learned_them(
    home: Path, home_with_table: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge sees features of the model before training only, and no row's own label."""
    from unfreeze.evidence import labels

    seen: list[torch.Tensor] = []
    judge = labels.out_of_fold

    def noting(task: str, features: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(features)
        return judge(task, features, *rest)

    monkeypatch.setattr(labels, "out_of_fold", noting)
    with only("labels") as contexts:
        fit_text(home, tmp_path / "run", data=home_with_table[0], method="full", epochs=1, **ASKED)
    context: Context = contexts[0]
    from unfreeze.evidence._before import features_before
    from unfreeze.evidence._features import computing, head_features

    rows, before = features_before(context, "train", 10**6, 1e6)
    assert torch.equal(seen[0], before)
    inputs = [context.feeds["train"].examples.inputs[row] for row in rows[:20]]
    trained = head_features(context.pretrained, computing(context, context.pretrained), inputs, 16)
    assert not torch.allclose(seen[0][:20], trained, atol=1e-2)


def test_without_time_only_rows_held_back_are_judged(
    home: Path, home_with_table: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "LOADING", -1e9)
    with only("labels"):
        options = {**ASKED, "evaluation__evidence_share": 0.0}
        run = fit_text(home, tmp_path / "run", data=home_with_table[0], epochs=1, method="full", **options)
    told = run.evidence["labels"]
    assert list(told["parts"]) == ["held back"]
    assert "too few rows" in told["left_out"]["train"]


def test_pictures_in_the_wrong_folder_are_shown(home: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    shutil.copy(home / "cnn.safetensors", tmp_path / "home")
    folder = pictures(tmp_path / "home" / "pictures", per_class=60)
    for number in range(6):
        (folder / "blue" / f"{number}.png").rename(folder / "red" / f"b{number}.png")
    with only("labels"):
        run = fit_images(tmp_path / "home", tmp_path / "run", epochs=6, **ASKED)
    found = {row["origin"] for row in table(run)}
    wrong = {f"red/b{number}.png" for number in range(6)}
    assert len(found & wrong) >= 5
    assert len(found - wrong) <= 6
    examples = [example for part in run.evidence["labels"]["parts"].values() for example in part["examples"]]
    picture = Image.open(io.BytesIO(base64.b64decode(examples[0]["image"])))
    assert max(picture.size) <= 160
    assert all(row["content"].endswith(row["origin"]) for row in table(run))


def test_numbers_that_are_far_off_are_told(home: Path, tmp_path: Path) -> None:
    rows = [
        {**row, "label": row["text"].count("good") + len(row["text"]) / 50 + 9 * (number % 20 == 0)}
        for number, row in enumerate(planted(240))
    ]
    with only("labels"):
        run = fit_text(home, tmp_path / "run", data=rows, task="regression", method="full", epochs=4, **ASKED)
    told = run.evidence["labels"]["parts"]["train"]
    assert told["suspects"] >= 3
    assert "r2" in told
    assert all(float(row["given"]) > 8 for row in table(run) if row["split"] == "train")


def test_too_few_rows_are_not_judged(home: Path, tmp_path: Path) -> None:
    with only("labels"):
        run = fit_images(home, tmp_path / "run", **ASKED)
    assert run.evidence["labels"]["parts"] == {}
    assert not (run.path / "evidence" / "labels.csv").exists()


def test_a_random_beginning_has_no_features_to_judge_by(home: Path, tmp_path: Path) -> None:
    with only("labels"):
        run = fit_text(home, tmp_path / "run", method="scratch", epochs=1, **ASKED)
    assert "random weights" in run.evidence["labels"]["left_out"]["train"]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), rows=st.integers(60, 400), classes=st.integers(2, 6), noise=st.floats(0, 0.4))
def test_the_quick_estimate_is_cleanlabs(seed: int, rows: int, classes: int, noise: float) -> None:
    from cleanlab.count import estimate_joint

    draw = np.random.default_rng(seed)
    true = np.concatenate([np.arange(classes), draw.integers(0, classes, rows - classes)])
    flipped = np.where(draw.random(rows) < noise, draw.integers(0, classes, rows), true)
    flipped[:classes] = np.arange(classes)
    logits = 2.0 * np.eye(classes)[true] + draw.normal(size=(rows, classes))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = 1 - np.trace(estimate_joint(flipped, shares))
    assert confident_share(shares, flipped) == pytest.approx(expected, abs=classes / rows), "up to rounding to rows"


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), rows=st.integers(200, 600), classes=st.integers(2, 10), noise=st.floats(0.05, 0.3))
def test_the_quick_judge_is_cleanlab_but_for_rounding(seed: int, rows: int, classes: int, noise: float) -> None:
    from cleanlab.rank import get_label_quality_scores

    draw = np.random.default_rng(seed)
    true = draw.integers(0, classes, rows)
    flipped = np.where(draw.random(rows) < noise, draw.integers(0, classes, rows), true)
    logits = 3.0 * np.eye(classes)[true] + draw.normal(size=(rows, classes))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    slow, quick = (judge_classes(shares, flipped, quick=each) for each in (False, True))
    either = (slow.suspect | quick.suspect).sum()
    assert (slow.suspect != quick.suspect).sum() <= min(classes**2 / 2, 3 + 0.3 * either)
    assert np.allclose(slow.score, get_label_quality_scores(flipped, shares))


def test_a_short_run_is_judged_without_loading_cleanlab(
    home: Path, home_with_table: tuple[Path, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cleanlab"]:
        monkeypatch.delitem(sys.modules, name)
    with only("labels"):
        options = {**ASKED, "evaluation__evidence_share": 0.0}
        run = fit_text(home, tmp_path / "run", data=home_with_table[0], epochs=1, method="full", **options)
    assert "cleanlab" not in sys.modules
    assert run.evidence["labels"]["judge"] == "rule"
    assert list(run.evidence["labels"]["parts"]) == ["held back"]
