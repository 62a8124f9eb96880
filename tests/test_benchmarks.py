"""The benchmarks that take hours run, on a handful of rows, in seconds."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from small import sentences

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_head_rates(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    head_rates = importlib.import_module("head_rates")
    rows = sentences(60)
    data = {"train": rows[:30], "validation": rows[30:45], "test": rows[45:]}
    for name, known in head_rates.SETS.items():
        small = replace(known, data=lambda seed: data, model={"model": str(home / "bert"), "batch_size": 8})
        monkeypatch.setitem(head_rates.SETS, name, small)
    monkeypatch.setattr(head_rates, "EPOCHS", 1)
    head_rates.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(head_rates.RATES)
    assert all(
        re.fullmatch(r"(banking77|movies) +[\d.]+  accuracy [01]\.\d{3}  nll \d+\.\d{3}", line) for line in lines
    )
