"""A run too short for all evidence: what there is no time for is named, what was asked for is collected in any case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small import fit_text, write_table

import unfreeze
from unfreeze.evidence import _context as context_of
from unfreeze.evidence._collect import NO_TIME
from unfreeze.progress import Silent
from unfreeze.run import Run


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
    assert missing(run).keys() - {"labels"} == {"probe", "movement", "attention"}, "labels: once cleanlab is loaded"
    assert set(missing(run).values()) == {NO_TIME}
    assert "probe" not in run.evidence
    (said,) = (note for note in noted.notes if "left out of the report" in note)
    assert "movement, attention" in said
    assert f"unfreeze report {run.path} --again" in said
    assert NO_TIME.split(":")[0] in (run.path / "report.html").read_text(encoding="utf-8")


def test_what_was_asked_for_is_collected_nevertheless(run: Run) -> None:
    assert run.evidence["forgetting"]["drift"]["on"] == "source"
    assert run.evidence["swaps"]["groups"][0]["read"] > 0


def test_what_costs_nothing_is_there(run: Run) -> None:
    assert {"per-class", "calibration", "mistakes", "cost"} <= run.evidence.keys()


def test_it_is_all_collected_later(run: Run) -> None:
    unfreeze.write_report(run.path, again=True)
    assert missing(run) == {}
    assert {"probe", "movement", "attention"} <= unfreeze.load(run.path).evidence.keys()
