"""The demonstration's data are the same each time, labelled, balanced, and come without running or downloading."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from unfreeze.demo import digits, stdlib_docstrings


@pytest.fixture(scope="module")
def table() -> dict[str, list[str]]:
    return stdlib_docstrings.rows()


def test_docstrings_are_enough_and_balanced(table: dict[str, list[str]]) -> None:
    counts = Counter(table["label"])
    assert 8 <= len(counts) <= len(stdlib_docstrings.SECTIONS)
    assert max(counts.values()) <= stdlib_docstrings.CAP
    assert sum(counts.values()) >= 1200
    assert {len(column) for column in table.values()} == {sum(counts.values())}


def test_docstrings_are_the_same_each_time(table: dict[str, list[str]]) -> None:
    assert stdlib_docstrings.rows() == table


def test_a_text_has_one_label_and_a_module_one_section(table: dict[str, list[str]]) -> None:
    assert len(set(table["text"])) == len(table["text"])
    homes = {module: {label for label, name in zip(table["label"], table["module"], strict=True) if name == module}
             for module in set(table["module"])}  # fmt: skip
    assert all(len(labels) == 1 for labels in homes.values())


def test_every_section_has_modules_for_three_splits(table: dict[str, list[str]]) -> None:
    modules: dict[str, set[str]] = {}
    for label, module in zip(table["label"], table["module"], strict=True):
        modules.setdefault(label, set()).add(module)
    assert min(map(len, modules.values())) >= 3


def test_nothing_of_the_library_runs() -> None:
    assert "turtle" not in sys.modules
    assert "idlelib" not in sys.modules


def test_modules_that_a_system_lacks_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gzip.py").write_text('"""Read and write gzip files."""\n')
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_text(
        '"""Read and write JSON files.\n\nMore."""\ndef f():\n    "Too short."\n'
    )
    monkeypatch.setattr(stdlib_docstrings.sysconfig, "get_path", lambda name: str(tmp_path))
    assert stdlib_docstrings.rows() == {
        "text": ["Read and write gzip files.", "Read and write JSON files."],
        "label": ["Compression and archiving", "Internet data"],
        "module": ["gzip", "json"],
    }


def test_the_csv_is_read_back_as_it_was_written(tmp_path: Path, table: dict[str, list[str]]) -> None:
    path = stdlib_docstrings.write_csv(tmp_path / "deep" / "docstrings.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {name: [row[name] for row in rows] for name in table} == table


def test_digits_are_small_grey_pictures_in_class_folders(tmp_path: Path) -> None:
    folder = digits.write_folder(tmp_path / "digits", rows=40)
    files = sorted(folder.glob("*/*.png"))
    assert len(files) == 40
    assert {file.parent.name for file in files} == {str(digit) for digit in range(10)}
    with Image.open(files[0]) as image:
        assert (image.mode, image.size) == ("L", (8, 8))
        assert image.getextrema()[1] == 255, "paper is white"
