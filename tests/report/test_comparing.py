"""`unfreeze compare` and `unfreeze report`: what the terminal and the page say about several runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made import SCRIPT, classes, hostile, write_run
from page import check

from unfreeze.cli import main
from unfreeze.report.against import against_best
from unfreeze.report.comparing import write_comparison
from unfreeze.run import Run


def graded(folder: Path, names: str, right: list[float], rows: int = 300) -> list[Run]:
    """Runs on the same rows, right for these shares of them."""
    made = classes(rows)
    targets = made.targets("test")
    runs = []
    for seed, (name, share) in enumerate(zip(names, right, strict=True)):
        good = torch.from_numpy(np.random.default_rng(seed).random(rows) < share)
        given = torch.where(good, targets, (targets + 1) % 3)
        outputs = torch.nn.functional.one_hot(given, 3).float() * 3
        made.outputs = lambda split, outputs=outputs: outputs
        runs.append(write_run(folder / name, made))
    return runs


def test_best_is_told_from_others_as_far_as_rows_allow(tmp_path: Path) -> None:
    runs = graded(tmp_path, "abc", [0.9, 0.89, 0.6])
    near, far = against_best(runs, "accuracy")
    assert far.difference is not None
    assert far.difference.clear
    assert near.difference is not None
    assert not near.difference.clear
    assert near.notes == ("the test is too small to tell a difference of this size from chance",)
    assert far.notes == ()


def test_page_of_several_runs(tmp_path: Path) -> None:
    runs = graded(tmp_path, "abc", [0.9, 0.89, 0.6])
    page = check(write_comparison(runs, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.headings == [
        "Figures",
        "Is the difference more than chance?",
        "Learning curves",
        "What the recipes differ in",
    ]
    assert "more than chance" in page.text
    assert "chance explains it" in page.text
    assert "too small" in page.text


def test_different_tests_are_warned_of(tmp_path: Path) -> None:
    one, two = graded(tmp_path, "ab", [0.9, 0.7])
    lines = (two.path / "predictions.jsonl").read_text().splitlines(keepends=True)
    (two.path / "predictions.jsonl").write_text("".join(lines[:100]))
    (found,) = against_best([one, two], "accuracy")
    assert found.paired is not None
    assert found.paired.rows == 100
    assert found.notes[0].startswith("the tests differ: 100 rows are shared, 200 stand in the best run's test alone")
    page = check(write_comparison([one, two], tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "the tests differ" in page.text


def test_few_rows_are_warned_of(tmp_path: Path) -> None:
    (found,) = against_best(graded(tmp_path, "ab", [1.0, 0.5], rows=12), "accuracy")
    assert found.notes == ("only 12 shared rows: too few for a test",)


def test_without_predictions(tmp_path: Path) -> None:
    one, two = graded(tmp_path, "ab", [0.9, 0.7])
    (two.path / "predictions.jsonl").unlink()
    (found,) = against_best([one, two], "accuracy")
    assert found.difference is None
    assert "missing" in found.notes[0]
    check(write_comparison([one, two], tmp_path / "page.html").read_text(encoding="utf-8"))


def test_nothing_from_runs_is_markup(tmp_path: Path) -> None:
    bad = hostile(tmp_path / "a&b <i>")
    twin = hostile(tmp_path / "other")
    source = write_comparison([bad, twin], tmp_path / "page.html").read_text(encoding="utf-8")
    page = check(source)
    assert SCRIPT not in source
    assert SCRIPT in page.text
    assert "a&b <i>" in page.text


def test_command_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graded(tmp_path, "abc", [0.6, 0.9, 0.89])
    words = ["compare", *(str(tmp_path / name) for name in "abc")]
    assert main([*words, "--html", str(tmp_path / "page.html")]) == 0
    shown = capsys.readouterr().out
    assert "b minus each other" in shown
    assert "more than chance" in shown
    assert str(tmp_path / "page.html") in shown.replace("\n", "")
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [Path(row["run"]).name for row in rows] == ["b", "c", "a"]
    assert rows[0]["against_best"] is None
    told = rows[2]["against_best"]
    assert told["best"] == "b"
    assert told["same_test"]
    assert told["differences"]["accuracy"]["p"] < 0.05
    assert told["differences"]["accuracy"]["low"] > 0.1


def test_command_compare_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graded(tmp_path, "a", [0.6])
    assert main(["compare", str(tmp_path / "a"), "--html", str(tmp_path / "page.html")]) == 0
    assert "minus each other" not in capsys.readouterr().out
    check((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_command_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graded(tmp_path, "a", [0.6])
    assert main(["report", str(tmp_path / "a")]) == 0
    assert "report.html" in capsys.readouterr().out
    check((tmp_path / "a" / "report.html").read_text(encoding="utf-8"))
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "There is no run" in capsys.readouterr().err
