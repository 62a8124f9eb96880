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


def test_features_that_do_not_fit_into_memory_are_not_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROCESS_CACHE.clear()
    monkeypatch.setattr(replaying, "MEMORY_SHARE", 1e-9)
    run = fit_text(home, tmp_path / "run", method="head", epochs=2)
    assert any("their features would take" in note and "GB are free" in note for note in run.result["notes"])


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
