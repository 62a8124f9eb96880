"""The source set: two parts that share nothing, the same for whoever reads it, with labels or without."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
from PIL import Image

from unfreeze.data.manifest import Manifest
from unfreeze.data.prepare import prepare
from unfreeze.data.reference import MOST, Reference, read_reference
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

WORDS = ["amber", "brook", "cedar", "delta", "ember", "frost", "grove", "haven", "islet", "jolly", "knoll", "lemon"]


def sentence(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=9))


def write(path: Path, header: list[str], rows: list[list[str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def own(folder: Path) -> tuple[Manifest, DataRecipe]:
    """The run's own data: a text called review and its stars."""
    rows = [[sentence(1000 + i), f"{i % 3} stars"] for i in range(60)]
    recipe = DataRecipe(path=write(folder / "own.csv", ["review", "stars"], rows), text="review", target="stars")
    return prepare(recipe, task=None, seed=0).manifest, recipe


def read(path: str, folder: Path, seed: int = 0) -> Reference:
    return read_reference(path, *own(folder), seed)


def test_a_set_with_other_columns_and_other_labels_is_halved(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", ["text", "topic"], [[sentence(i), "ab"[i % 2]] for i in range(80)])
    found = read(path, tmp_path)
    assert found.manifest is not None
    assert found.manifest.labels == ("a", "b")
    assert len(found.rehearsed) + len(found.held) == 80
    assert abs(len(found.rehearsed) - len(found.held)) <= 2
    assert not set(found.rehearsed.inputs) & set(found.held.inputs)
    again = read(path, tmp_path)
    assert again.held.inputs == found.held.inputs
    assert read(path, tmp_path, seed=1).held.inputs != found.held.inputs


def test_columns_of_the_same_names_are_the_ones_that_are_read(tmp_path: Path) -> None:
    rows = [[f"note {i}", sentence(i), "xyz"[i % 3], "ab"[i % 2]] for i in range(90)]
    found = read(write(tmp_path / "s.csv", ["remark", "review", "stars", "topic"], rows), tmp_path)
    assert found.manifest is not None
    assert found.manifest.labels == ("x", "y", "z")
    assert set(found.held.inputs) <= {row[1] for row in rows}


def test_a_set_without_labels_is_halved_too_and_says_why(tmp_path: Path) -> None:
    rows = [[sentence(i)] for i in range(80)] + [[sentence(0)]] * 5
    found = read(write(tmp_path / "s.csv", ["review"], rows), tmp_path)
    assert found.manifest is None
    assert found.unlabelled
    assert min(len(found.rehearsed), len(found.held)) >= 30
    assert not set(found.rehearsed.inputs) & set(found.held.inputs), "equal rows stay together"


def test_splits_that_are_given_are_kept(tmp_path: Path) -> None:
    rows = [[sentence(i), "ab"[i % 2], "train" if i < 60 else "test"] for i in range(100)]
    found = read(write(tmp_path / "s.csv", ["text", "topic", "split"], rows), tmp_path)
    assert len(found.rehearsed) == 60
    assert set(found.held.inputs) == {row[0] for row in rows[60:]}


def test_images_for_a_model_of_texts_are_refused(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(25):
            pixels = bytes(random.Random(f"{label}{number}").randbytes(16 * 16 * 3))
            Image.frombytes("RGB", (16, 16), pixels).save(tmp_path / "pictures" / label / f"{number}.png")
    with pytest.raises(DataError, match="holds images, while the model reads texts"):
        read(str(tmp_path / "pictures"), tmp_path)


def test_too_few_rows_and_no_file_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", ["text", "topic"], [[sentence(i), "ab"[i % 2]] for i in range(20)])
    with pytest.raises(DataError, match=r"10 rows to rehearse and 10 to measure on; expected at least 20"):
        read(path, tmp_path)
    with pytest.raises(DataError, match=r"evaluation.source: 'nowhere.csv' cannot be used"):
        read("nowhere.csv", tmp_path)


def test_no_more_rows_than_are_used(tmp_path: Path) -> None:
    rows = [[" ".join(random.Random(i).choices(WORDS, k=12)) + f" {i}"] for i in range(MOST + 500)]
    found = read(write(tmp_path / "s.csv", ["review"], rows), tmp_path)
    assert len(found.rehearsed) + len(found.held) <= MOST
