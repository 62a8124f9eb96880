"""Promise 5: no training row stands in the test split too, and nothing of the test split is used before the end."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from small import essence, fit_text, pictures, read_table, table, weights, write_table

import unfreeze
from unfreeze.data.manifest import Examples
from unfreeze.evaluation import finish
from unfreeze.train.feed import Feed
from unfreeze.train.loop import Training

LONG = "the old film of the two brothers who crossed the northern sea in a very small boat was never shown again"
NEAR = "The old film of the two brothers who crossed the northern sea in a very small boat was never shown again!!"


def leaky(path: Path) -> Path:
    """A table in which an exact and a near copy of test rows stand in training, and one of validation's."""
    rows = read_table(table(path))
    test = [row for row in rows if row[2] == "test"]
    validation = [row for row in rows if row[2] == "validation"]
    leaks = [(*test[0][:2], "train"), (*validation[0][:2], "train"), (NEAR, "film", "train")]
    write_table(path, [*rows, (LONG, "film", "test"), *leaks])
    return path


def test_training_rows_that_stand_in_another_split_are_left_out(home: Path, tmp_path: Path) -> None:
    data = leaky(tmp_path / "table.csv")
    count = len(read_table(data))
    run = fit_text(home, tmp_path / "run", data=data, epochs=1)
    left_out = [json.loads(line) for line in (run.path / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(int(row["origin"].rsplit(" ", 1)[1]) for row in left_out) == [count - 1, count, count + 1]
    assert {row["row"]["text"] for row in left_out} >= {NEAR}
    assert all(row["reason"] for row in left_out)
    assert run.manifest.rows == {"train": 44, "validation": 18, "test": 19}
    assert any(finding.kind.startswith("leak") for finding in run.manifest.findings)


def test_keeping_leaks_is_possible_and_said(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", data=leaky(tmp_path / "table.csv"), epochs=1, leaks="keep")
    assert run.manifest.rows["train"] == 47
    assert any(f.kind.startswith("leak") and f.severity != "info" for f in run.manifest.findings)


def test_the_same_picture_at_another_size_does_not_cross_splits(tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    folder = tmp_path / "pictures"
    for number, (split, count) in enumerate((("train", 8), ("test", 4), ("val", 4))):
        pictures(folder / split, per_class=count, side=24, first=100 * number)
    scene = Image.new("RGB", (120, 120), "white")
    pen = ImageDraw.Draw(scene)
    draw = random.Random(2)
    for _ in range(12):
        x, y = draw.randint(0, 90), draw.randint(0, 90)
        pen.ellipse((x, y, x + draw.randint(8, 40), y + draw.randint(8, 40)), fill=tuple(draw.choices(range(256), k=3)))
    scene.save(folder / "test" / "red" / "scene.png")
    scene.resize((80, 80)).save(folder / "train" / "red" / "small.jpg", quality=80)
    prepared = unfreeze.inspect_data(folder)
    kept = {str(origin) for split in prepared.splits.values() for origin in split.origin}
    assert any("scene.png" in origin for origin in kept)
    assert not any("small.jpg" in origin for origin in kept)
    assert any("small.jpg" in row.origin for row in prepared.quarantine)


def test_groups_do_not_cross_splits(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path / "table.csv"))
    with (tmp_path / "grouped.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "patient"))
        writer.writerows((text, label, f"p{index % 20}") for index, (text, label, _) in enumerate(rows))
    prepared = unfreeze.inspect_data(tmp_path / "grouped.csv", target="label", group="patient")
    origins = {split: {int(str(o).rsplit(" ", 1)[1]) for o in part.origin} for split, part in prepared.splits.items()}
    patients = {split: {(line - 2) % 20 for line in lines} for split, lines in origins.items()}
    assert all(patients.values())
    assert sum(map(len, patients.values())) == 20


class Reads:
    """Counts the rows of every feed that a run reads, before and after its last update."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, test: int) -> None:
        self.rows: Counter[str] = Counter()
        self.finished_training = False
        batch, run = Feed.batch, Training.run

        def counted(feed: Feed, rows: Any, epoch: int | None = None) -> Any:
            # The table's splits differ in size only between train and the others: the origin tells which it is.
            self.rows[f"{self.split_of(feed.examples)} {'after' if self.finished_training else 'before'}"] += len(rows)
            return batch(feed, rows, epoch)

        def trained(training: Training) -> Any:
            at = run(training)
            self.finished_training = True
            return at

        self.first_test_line = test
        monkeypatch.setattr(Feed, "batch", counted)
        monkeypatch.setattr(Training, "run", trained)

    def split_of(self, examples: Examples) -> str:
        line = int(str(examples.origin[0]).rsplit(" ", 1)[1])
        return "test" if line >= self.first_test_line else "others"


def test_the_test_split_is_read_once_and_after_training(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_table(home / "table.csv")
    first = 2 + next(index for index, row in enumerate(rows) if row[2] == "test")
    reads = Reads(monkeypatch, first)
    run = fit_text(home, tmp_path / "run", method="gradual-on-plateau", epochs=4, early_stopping=1)
    assert reads.rows["test before"] == 0
    assert reads.rows["test after"] == run.manifest.rows["test"] == 18
    assert reads.rows["others before"] > 0


def test_test_labels_change_the_score_and_nothing_else(home: Path, tmp_path: Path) -> None:
    """The strongest form: with other answers in the test split, every weight and every choice is the same."""
    rows = read_table(home / "table.csv")
    wrong = {"bank": "film", "film": "weather", "weather": "bank"}
    write_table(tmp_path / "other.csv", [(t, wrong[lab] if s == "test" else lab, s) for t, lab, s in rows])
    options = {"method": "gradual-on-plateau", "epochs": 6, "early_stopping": 2, "ema": 0.8}
    one = fit_text(home, tmp_path / "one", **options)
    two = fit_text(home, tmp_path / "two", data=tmp_path / "other.csv", **options)
    assert essence(one.path)["weights"] == essence(two.path)["weights"]
    assert one.result["history"] == two.result["history"]
    assert one.result["best_epoch"] == two.result["best_epoch"]
    assert one.metrics != two.metrics
    assert one.result["test_fingerprint"] != two.result["test_fingerprint"]


def test_the_spy_would_see_model_choice_by_the_test_split(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The promise broken on purpose: validation rows replaced by test rows give other weights or are seen."""
    rows = read_table(home / "table.csv")
    first = 2 + next(index for index, row in enumerate(rows) if row[2] == "test")
    reads = Reads(monkeypatch, first)
    prepare = unfreeze.planning.prepare

    def peeking(*arguments: Any, **options: Any) -> Any:
        prepared = prepare(*arguments, **options)
        prepared.splits["validation"] = prepared.splits["test"]
        return prepared

    monkeypatch.setattr("unfreeze.planning.prepare", peeking)
    fit_text(home, tmp_path / "run", epochs=1)
    assert reads.rows["test before"] > 0


def test_the_reported_weights_are_those_that_validation_chose(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[float] = []
    score = finish.score

    def watching(job: Any, feed: Feed, *arguments: Any, **options: Any) -> Any:
        scorer = score(job, feed, *arguments, **options)
        scored.append(scorer.compute()[job.metric])
        return scorer

    monkeypatch.setattr(finish, "score", watching)
    run = fit_text(home, tmp_path / "run", method="full", epochs=6, evaluation__metric="nll")
    history = [entry["validation"]["nll"] for entry in run.result["history"]]
    assert run.result["best_epoch"] == 1 + history.index(min(history))
    assert scored[0] == pytest.approx(min(history), rel=1e-5)
    assert len(scored) == 2, "validation and test, once each"
    assert weights(run)
