"""`unfreeze predict`: calibrated or not, abstaining, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unfreeze.cli import main
from unfreeze.errors import RunError
from unfreeze.evaluation.calibration import Step

if TYPE_CHECKING:
    from conftest import Stub

ROWS: list[dict[str, Any]] = [
    {"origin": "a.csv, line 2", "prediction": "cat", "best_guess": "cat", "probabilities": {"cat": 0.9, "dog": 0.1},
     "ood_percentile": 12.5},
    {"origin": "a.csv, line 3", "prediction": None, "best_guess": "dog", "probabilities": {"dog": 0.6, "cat": 0.4},
     "ood_percentile": 99.8},
]  # fmt: skip


@pytest.fixture
def asked(api: Stub, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the run is asked with."""
    calls: list[dict[str, Any]] = []

    def predict_all(run: Any, source: Any, **options: Any) -> Any:
        calls.append(options)
        return ROWS, ()

    kind = type(api.load("run"))
    monkeypatch.setattr(kind, "predict_all", predict_all)
    step = Step(0.02, 0.8, coverage=0.75, error=0.01, test_coverage=0.7, test_error=0.015)
    monkeypatch.setattr(kind, "threshold", lambda run, rate: step, raising=False)
    return calls


def test_probabilities_are_calibrated_unless_said_otherwise(asked: list[dict[str, Any]]) -> None:
    assert main(["predict", "run", "a.csv"]) == 0
    assert main(["predict", "run", "a.csv", "--uncalibrated"]) == 0
    assert [call["calibrated"] for call in asked] == [True, False]
    assert [call["error_rate"] for call in asked] == [None, None]


def test_abstaining_says_what_came_of_it(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "run", "a.csv", "--error-rate", "0.02"]) == 0
    assert asked[0]["error_rate"] == 0.02
    out, err = capsys.readouterr()
    err = " ".join(err.split())
    assert "1 of 2 rows without a prediction: the model is less than 0.800 sure of them" in err
    assert "75.0% of the validation rows were answered, 1.0% of them wrongly" in err
    assert "70.0% of the test rows were answered, 1.5% of them wrongly" in err
    assert "None" not in out
    assert "–" in out
    assert "best_guess" in out


def test_json_holds_null_and_the_guess(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "run", "a.csv", "--error-rate", "0.02", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["prediction"] for row in rows] == ["cat", None]
    assert rows[1]["best_guess"] == "dog"
    assert rows[1]["ood_percentile"] == 99.8


def test_a_table_has_an_empty_cell(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    assert main(["predict", "run", "a.csv", "--error-rate", "0.02", "--output", "out.csv"]) == 0
    lines = Path("out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("origin,prediction,best_guess")
    assert lines[2].startswith('"a.csv, line 3",,dog')


def test_a_rate_that_cannot_be_kept_is_an_error(
    api: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(run: Any, source: Any, **options: Any) -> Any:
        raise RunError("cannot show an error rate of 0.001")

    monkeypatch.setattr(type(api.load("run")), "predict_all", refuse)
    assert main(["predict", "run", "a.csv", "--error-rate", "0.001"]) == 2
    assert "cannot show an error rate" in capsys.readouterr().err
    assert main(["predict", "run", "a.csv", "--error-rate", "few"]) == 2
