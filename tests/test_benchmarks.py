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


def test_tables_are_put_between_the_marks_of_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pages = importlib.import_module("pages")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- one -->\nold\n<!-- /one -->\nafter\n")
    pages.say(pages.table(["what", "ms"], [["all", "3"]], words=1), "one", page)
    assert page.read_text() == (
        "before\n<!-- one -->\n| what | ms |\n| --- | ---: |\n| all | 3 |\n<!-- /one -->\nafter\n"
    )
    assert "| all | 3 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="<!-- two -->"):
        pages.say([], "two", page)


@pytest.mark.parametrize("script", ["rows", "touched_rows", "operators", "start"])
def test_pages_have_the_marks_that_scripts_write_to(script: str) -> None:
    text = (BENCHMARKS / f"{script}.py").read_text(encoding="utf-8")
    (mark,) = set(re.findall(r"<!-- (\w+) -->", text))
    assert re.search(rf"say\(.*\"{mark}\", asked.into\)", text)
    page = (BENCHMARKS.parent / "docs" / "speed.md").read_text(encoding="utf-8")
    assert page.count(f"<!-- {mark} -->") == page.count(f"<!-- /{mark} -->") == 1
