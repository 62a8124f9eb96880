"""A run too short for all evidence: what there is no time for is named, what was asked for is collected in any case."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small import fit_text, sentences, write_table

import unfreeze
from unfreeze.api import _seconds_to_tell
from unfreeze.cli import main
from unfreeze.evidence import _context as context_of
from unfreeze.evidence import probe
from unfreeze.evidence._collect import NO_TIME
from unfreeze.progress import Silent
from unfreeze.recipe import Recipe
from unfreeze.run import Run, how_to_collect


class Noted(Silent):
    """It keeps what is noted."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def noted() -> Noted:
    return Noted()


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory, noted: Noted) -> Run:
    """All layers learn, so that no features are there from before; nothing is left of the time from the start."""
    folder = tmp_path_factory.mktemp("short")
    source = folder / "source.csv"
    write_table(source, [(f"a {word} scene number {i}", word, "train") for i in range(40) for word in ("good", "bad")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context_of, "LEAST_SECONDS", 0.0)
        patch.delitem(sys.modules, "cleanlab", raising=False)
        return fit_text(
            home,
            folder / "run",
            method="full",
            epochs=1,
            progress=noted,
            swaps=[["good", "bad"]],
            evaluation__report=True,
            evaluation__evidence_share=1e-9,
            evaluation__source=str(source),
        )


def missing(run: Run) -> dict[str, str]:
    found: dict[str, str] = json.loads((run.path / "evidence" / "collected.json").read_text())["missing"]
    return found


def test_what_there_is_no_time_for_is_named(run: Run, noted: Noted) -> None:
    assert missing(run).keys() == {"probe", "movement", "attention"}
    assert set(missing(run).values()) == {NO_TIME}
    assert "probe" not in run.evidence
    (said,) = (note for note in noted.notes if "left out of the report" in note)
    assert "probe, movement, attention" in said
    assert how_to_collect(run) in said
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert NO_TIME in page
    assert how_to_collect(run) in page


def test_what_to_do_next_says_what_was_not_looked_at(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["next", str(run.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Not looked at: {', '.join(missing(run))}." in said


def test_what_was_asked_for_is_collected_nevertheless(run: Run) -> None:
    assert run.evidence["forgetting"]["drift"]["on"] == "source"
    assert run.evidence["swaps"]["groups"][0]["read"] > 0


def test_what_costs_nothing_is_there(run: Run) -> None:
    assert {"per-class", "calibration", "mistakes", "cost"} <= run.evidence.keys()


def test_it_is_all_collected_later(run: Run) -> None:
    unfreeze.write_report(run.path, again=True)
    assert missing(run) == {}
    assert {"probe", "movement", "attention"} <= unfreeze.load(run.path).evidence.keys()


QUICK: dict[str, Any] = {"evaluation__report": True, "evaluation__evidence_share": 1e-9, "method": "full", "epochs": 1}


def test_a_probe_for_which_loading_left_no_time_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_of, "LEAST_SECONDS", 2.5)
    load = probe.load_before
    monkeypatch.setattr(probe, "load_before", lambda context: (time.sleep(1.5), load(context))[1])
    run = fit_text(home, tmp_path / "run", **QUICK)
    assert missing(run)["probe"] == NO_TIME


def test_without_a_test_split_time_is_kept_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_of, "LEAST_SECONDS", 0.0)
    rows = sentences(60)
    data = {"train": rows[:44], "validation": rows[44:]}
    run = fit_text(home, tmp_path / "run", data=data, target=None, split=None, **QUICK)
    assert {"probe", "movement", "attention", "forgetting"} <= missing(run).keys()


def test_a_report_that_was_interrupted_has_the_same_time() -> None:
    recipe = Recipe()
    least = context_of.LEAST_SECONDS - context_of.WRITING_SECONDS
    assert _seconds_to_tell(recipe, 1.0) == pytest.approx(least)
    assert _seconds_to_tell(recipe, 1000.0) == pytest.approx(100.0 - context_of.WRITING_SECONDS)


def test_what_takes_long_says_what_it_is_at(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []

    class Told(Silent):
        def stage(self, message: str) -> None:
            stages.append(message)

    monkeypatch.setattr(context_of, "EVERY", 0.0)
    options = {"method": "head", "epochs": 1, "evaluation__report": True, "evaluation__evidence_share": 1e6}
    fit_text(home, tmp_path / "run", progress=Told(), **options)
    assert "collecting evidence: probe" in stages
    assert any(stage.startswith("collecting evidence: corrupted rows, 2 of ") for stage in stages)
