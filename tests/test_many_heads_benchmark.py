"""The benchmark of heads trained together runs, on a handful of rows, in seconds."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from unfreeze.grid import Grid


def test_many_heads(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    many_heads = importlib.import_module("many_heads")
    small = {"MODEL": str(home / "bert"), "CLASSES": (2, 3), "ROWS": 60, "HELD_OUT": 20, "EPOCHS": 1, "ROUNDS": 1}
    for name, value in {**small, "MANY": Grid((0.01, 0.1), (0.0,), (0, 1))}.items():
        monkeypatch.setattr(many_heads, name, value)
    many_heads.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(
        re.search(r"classes, dropout 0.* = +[\d.]+ times one head, [\d.]+ times one run's$", line) for line in lines
    )
