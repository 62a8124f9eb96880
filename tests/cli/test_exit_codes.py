"""0 done, 1 failed, 2 the user's input, 130 interrupted: each with one clear message and no stack trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unfreeze import errors
from unfreeze.cli import main

if TYPE_CHECKING:
    from conftest import Stub


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit", "Missing argument"),
        ("ftt a.csv", "No such command"),
        ("fit a.csv --epoks 3", "--epochs"),
        ("fit a.csv --epochs many", "--epochs: training.epochs must be a number"),
        ("fit a.csv --set training.epoch=3", "Did you mean 'epochs'?"),
        ("fit a.csv --set nonsense", "expected key=value"),
        ("fit missing.yaml", "cannot be read"),
        ("methods heads", "Did you mean 'head'?"),
        ("tasks regresion", "Did you mean 'regression'?"),
        ("demo txt", "Did you mean 'text'?"),
        ("predict run new.csv --output out.xlsx", ".csv or .jsonl"),
    ],
)
def test_what_the_user_said_is_2(words: str, said: str, api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_all_problems_of_flags_and_settings_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "a.csv", "--epochs", "x", "--lr", "y", "--seed", "-1", "--set", "training.warmup=2"]) == 2
    err = capsys.readouterr().err
    assert all(flag in err for flag in ("--epochs:", "--lr:", "--seed:", "--set training.warmup:"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DataError("the file is empty"), 2),
        (errors.FrozenMovedError("a buffer moved"), 1),
        (errors.Interrupted("Interrupted. Go on with: unfreeze resume runs/x"), 130),
    ],
    ids=lambda value: str(value)[:12],
)
def test_errors_of_the_tree_carry_their_code(
    error: Exception, code: int, api: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    api.error = error
    assert main(["fit", "a.csv"]) == code
    assert capsys.readouterr().err.strip() == str(error)
    assert main(["fit", "a.csv", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {"error": type(error).__name__, "exit_code": code, "messages": [str(error)]}


def test_ctrl_c_before_training(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    api.error = KeyboardInterrupt()
    assert main(["fit", "a.csv"]) == 130
    assert "nothing to resume" in capsys.readouterr().err


def test_what_nobody_expected_is_1_and_the_trace_is_kept(
    api: Stub, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    api.error = ZeroDivisionError("by zero [bold]")
    assert main(["fit", "a.csv"]) == 1
    err = capsys.readouterr().err
    assert "Unexpected ZeroDivisionError: by zero [bold]" in err
    assert "Traceback" not in err
    (log,) = tmp_path.glob("unfreeze-*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()


def test_debug_shows_the_trace_wherever_it_stands(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    api.error = ZeroDivisionError("by zero")
    for words in (["--debug", "fit", "a.csv"], ["fit", "a.csv", "--debug"]):
        assert main(words) == 1
        assert "Traceback" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from unfreeze import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"unfreeze {__version__}"
