"""`unfreeze cache` lists what is kept and removes it, without torch, and shows text from data literally."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from unfreeze.cli import main
from unfreeze.stack.budget import Budget
from unfreeze.stack.cache import FeatureCache
from unfreeze.stack.shelf import cache_folder, name_of

EVIL = "[red]x[/red]\x1b[31m\x07"


def keep(key: str, **description: Any) -> None:
    with FeatureCache(Budget(0, 0.5)).filling(
        key, [False], [1] * 1200, [torch.ones(1, 5)], description=description
    ) as f:
        f.add(list(range(1200)), [torch.ones(1200, 5)])


@pytest.fixture
def three() -> None:
    keep("a", data="reviews.csv", split="train", model="minilm", frontier="head")
    keep("b", data=f"data{EVIL}.csv", model=EVIL, frontier="block 3")
    keep("c")


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["cache", *words]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(shown(capsys, *words, "--json"))


@pytest.mark.usefixtures("three")
def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys)
    (line,) = (line for line in out.splitlines() if "reviews.csv" in line)
    for part in (name_of("a")[:12], "reviews.csv, train: minilm", "1,200", "head", "34.", "kB"):
        assert part in line
    assert "[red]x[/red]" in out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "unknown" in out
    assert str(cache_folder()) in out.replace("\n", "")
    assert "102." in out
    assert "--cache-budget" in out


@pytest.mark.usefixtures("three")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys)
    assert found["folder"] == str(cache_folder())
    assert found["bytes"] == sum(entry["bytes"] for entry in found["entries"])
    assert found["default_budget"] > 0
    entry = next(entry for entry in found["entries"] if entry["data"] == "reviews.csv")
    assert (entry["key"], entry["rows"], entry["frontier"]) == (name_of("a"), 1200, "head")
    assert [each["key"] for each in document(capsys, name_of("b")[:5])["entries"]] == [name_of("b")]


@pytest.mark.usefixtures("three")
def test_clearing_some_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Removed 1 set of features, 34." in shown(capsys, "--clear", name_of("a")[:6])
    assert len(document(capsys)["entries"]) == 2
    assert "Removed 2 sets of features" in shown(capsys, "--clear")
    assert document(capsys)["entries"] == []
    assert not list(cache_folder().iterdir())
    assert "Removed 0 sets" in shown(capsys, "--clear")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("words", [["--clear", ""], ["--clear", "x"], ["nothing"], ["--clear", name_of("a"), "x"]])
def test_a_key_that_is_not_there_removes_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An empty one, of a variable that was not set, would be the beginning of all."""
    assert main(["cache", *words]) == 2
    assert "No kept features have a key that begins with" in capsys.readouterr().err
    assert len(document(capsys)["entries"]) == 3


def test_an_empty_cache_and_damaged_entries(capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 bytes in" in shown(capsys)
    folder = cache_folder() / ("0" * 64)
    folder.mkdir(parents=True)
    (folder / "entry.json").write_text("{")
    assert "unknown" in shown(capsys)
    (folder / "entry.json").write_text('{"rows": "many", "description": 3, "made": {}}')
    assert "unknown" in shown(capsys)
    assert "Removed 1 set" in shown(capsys, "--clear", "000")
    assert not folder.exists()


@pytest.mark.usefixtures("three")
def test_listing_and_clearing_need_no_torch() -> None:
    program = (
        "import sys\nfrom unfreeze.cli import main\n"
        "assert main(['cache']) == 0 and main(['cache', '--json']) == 0 and main(['cache', '--clear']) == 0\n"
        "assert not {'torch', 'transformers', 'timm', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, stdout=subprocess.DEVNULL)
    assert not list(Path(cache_folder()).iterdir())


def test_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "nothing.csv", "--cache-budget", "much"]) == 2
    assert "training.cache_budget: expected a share below 1 such as 0.3" in capsys.readouterr().err
