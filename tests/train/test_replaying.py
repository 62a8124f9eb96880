"""When frozen parts are computed once, when not, and what is said then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import fit_images, fit_text, read_table, write_table

from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.train import replaying
from unfreeze.train.hooks import Hook


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"method": "head", "epochs": 2}, None),
        ({"method": "full", "epochs": 2}, None),
        ({"method": "head", "epochs": 2, "replay": False}, "replay is switched off"),
        ({"method": "head", "epochs": 1}, "each row is read once, so keeping it gains nothing"),
        ({"method": "head", "epochs": 2, "augment": ["word-swap"]}, "augmentation changes the inputs in every epoch"),
    ],
)
def test_the_note_says_why_not(home: Path, tmp_path: Path, options: dict[str, object], note: str | None) -> None:
    PROCESS_CACHE.clear()
    run = fit_text(home, tmp_path / "run", **options)
    found = [text for text in run.result["notes"] if "computed plainly" in text]
    assert len(found) == (note is not None)
    assert all(str(note) in text for text in found)


def test_a_hook_that_changes_batches_is_not_passed_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Changing(Hook):
        def transform(self, loop: Any, batch: Any, targets: Any) -> Any:
            seen.append(len(targets))
            return batch, targets

    monkeypatch.setattr("unfreeze.api._hooks", lambda *_: [Changing()])
    run = fit_text(home, tmp_path / "run", method="head", epochs=2)
    assert sum(seen) == 2 * run.manifest.rows["train"]
    assert any("a technique changes the batches" in note for note in run.result["notes"])


def test_features_that_do_not_fit_into_memory_are_not_kept(home: Path, tmp_path: Path) -> None:
    PROCESS_CACHE.clear()
    run = fit_text(home, tmp_path / "run", method="head", epochs=3, cache_budget="1kb")
    assert any("their features would take" in note and "cache_budget" in note for note in run.result["notes"])


@pytest.mark.parametrize("rows", ["cut", "one word"])
def test_texts_of_one_length_do_not_hide_that_others_are_shorter(home: Path, tmp_path: Path, rows: str) -> None:
    """All training texts are cut to the same length while some of validation are not."""
    table = read_table(home / "table.csv")
    words = {"cut": "again and again ", "one word": ""}[rows]
    long = [(f"{words}{text}" if split == "train" else text[:6], label, split) for text, label, split in table]
    write_table(tmp_path / "table.csv", long)
    options = {"data": tmp_path / "table.csv", "method": "head", "epochs": 2, "duplicates": "keep", "leaks": "keep"}
    run = fit_text(home, tmp_path / "run", **options, model__max_length=10)
    assert not any("computed plainly" in note for note in run.result["notes"])


def test_pictures_are_kept_too(home: Path, tmp_path: Path) -> None:
    PROCESS_CACHE.clear()
    run = fit_images(home, tmp_path / "run", method="last:2", augment=[], epochs=2)
    assert run.result["notes"] == []
    assert PROCESS_CACHE.bytes > 0


def test_tiny_layers_are_cheaper_to_compute_than_to_read_back(home: Path, tmp_path: Path) -> None:
    PROCESS_CACHE.clear()
    phases = [{"learn": ["block 0", "block 1", "block 2", "head"], "epochs": 3}]
    run = fit_text(home, tmp_path / "run", method=None, epochs=None, phases=phases)
    assert any("they are cheaper to compute than to read back" in note for note in run.result["notes"])


def test_one_pass_serves_the_frontiers_of_later_phases(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradual unfreezing reads each row once through the frozen network, though every phase has its own frontier."""
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})
    PROCESS_CACHE.clear()
    passes: list[tuple[int, int]] = []
    fill = replaying._fill

    def counted(job: Any, levels: Any, split: str, feed: Any, views: int) -> Any:
        passes.append((len(levels), len(feed)))
        return fill(job, levels, split, feed, views)

    monkeypatch.setattr(replaying, "_fill", counted)
    run = fit_text(home, tmp_path / "run", method="gradual:3", epochs=3)
    assert run.result["notes"] == []
    assert passes == [(2, run.manifest.rows["train"]), (2, run.manifest.rows["validation"])]


def test_features_of_later_phases_wait_until_what_they_depend_on_has_learned(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})
    PROCESS_CACHE.clear()
    passes: list[int] = []
    fill = replaying._fill

    def counted(job: Any, levels: Any, *rest: Any) -> Any:
        passes.append(len(levels))
        return fill(job, levels, *rest)

    monkeypatch.setattr(replaying, "_fill", counted)
    phases = [{"learn": "block 1", "epochs": 2}, {"learn": "head", "epochs": 3}]
    run = fit_text(home, tmp_path / "run", method=None, epochs=None, phases=phases)
    assert run.result["notes"] == []
    assert passes == [1, 1, 1, 1]


def test_versions_of_augmented_pictures_are_kept(home: Path, tmp_path: Path) -> None:
    PROCESS_CACHE.clear()
    options = {"method": "head", "augment": ["flip", "crop:0.5"], "epochs": 6}
    run = fit_images(home, tmp_path / "run", **options, cached_views=3)
    assert run.result["notes"] == []
    plain = fit_images(home, tmp_path / "plain", **options)
    assert any("augmentation changes the inputs" in note for note in plain.result["notes"])
    assert plain.recipe.training.cached_views == 0


def test_many_epochs_over_frozen_layers_keep_versions_by_themselves(home: Path, tmp_path: Path) -> None:
    run = fit_images(home, tmp_path / "run", method="head", augment=["flip"], epochs=8)
    assert run.recipe.training.cached_views == 4
    assert run.result["notes"] == []
