"""Suspected label errors: a table that can be opened safely, and applied to the very rows that it was made from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.data.io import write_quarantine
from unfreeze.data.manifest import Prepared, SplitName
from unfreeze.data.prepare import prepare
from unfreeze.data.spreadsheet import harmless, undone
from unfreeze.data.suspects import COLUMNS, Suspect, row_key, suspect_of, table_of
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

ROWS = [(f"sentence number {number} of a long story", f"c{number % 2}") for number in range(80)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *ROWS])
    return tmp_path / "rows.csv"


def ready(table: Path, **options: Any) -> Prepared:
    return prepare(DataRecipe(path=str(table), **options), task=None, seed=0)


def suspects(prepared: Prepared, split: SplitName, *rows: int) -> list[Suspect]:
    part = prepared.splits[split]
    return [
        suspect_of(
            part.origin[row],
            split,
            part.inputs[row],
            part.targets[row],
            suggested="c9",
            score=0.1,
            content=str(part.inputs[row]),
        )
        for row in rows
    ]


def written(
    folder: Path, found: list[Suspect], keep: str = "", change: Callable[[str], str] = lambda text: text
) -> str:
    path = folder / "labels.csv"
    lines = table_of(found).splitlines()
    path.write_text(change("\n".join([lines[0], *(line + keep for line in lines[1:])]) + "\n"))
    return str(path)


def inputs(prepared: Prepared) -> dict[str, set[str]]:
    return {split: {str(item) for item in part.inputs} for split, part in prepared.splits.items()}


def test_suspects_of_training_are_left_out_and_quarantined(table: Path, tmp_path: Path) -> None:
    before = ready(table)
    found = suspects(before, "train", 3, 5)
    after = ready(table, drop_suspects=written(tmp_path, found))
    gone = inputs(before)["train"] - inputs(after)["train"]
    assert gone == {before.splits["train"].inputs[3], before.splits["train"].inputs[5]}
    write_quarantine(tmp_path / "quarantine.jsonl", after.quarantine)
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [line["reason"] for line in lines] == ["suspected label error (suggested: c9)"] * 2
    assert {line["origin"] for line in lines} == {one.origin for one in found}
    (finding,) = [one for one in after.manifest.findings if one.kind == "suspects"]
    assert finding.count == 2


def test_the_other_rows_stay_in_their_splits(table: Path, tmp_path: Path) -> None:
    before = ready(table)
    after = ready(table, drop_suspects=written(tmp_path, suspects(before, "train", *range(20))))
    assert inputs(after)["test"] == inputs(before)["test"]
    assert inputs(after)["validation"] == inputs(before)["validation"]
    assert len(after.splits["train"]) == len(before.splits["train"]) - 20


@pytest.mark.parametrize("keep", ["yes", "Yes", "TRUE", "1", " y "])
def test_what_a_person_keeps_stays(table: Path, tmp_path: Path, keep: str) -> None:
    before = ready(table)
    after = ready(table, drop_suspects=written(tmp_path, suspects(before, "train", 3), keep))
    assert inputs(after) == inputs(before)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_back_rows_leave_only_where_a_person_said_so(table: Path, tmp_path: Path, split: SplitName) -> None:
    """A model's mistakes on the test, left out unseen, would flatter the next model."""
    before = ready(table)
    found = suspects(before, split, 0, 1)
    unseen = ready(table, drop_suspects=written(tmp_path, found))
    assert inputs(unseen) == inputs(before)
    assert any(one.kind == "suspects_kept" and one.count == 2 for one in unseen.manifest.findings)
    reviewed = ready(table, drop_suspects=written(tmp_path, found, "no"))
    assert len(reviewed.splits[split]) == len(before.splits[split]) - 2


def test_a_word_that_means_nothing_is_refused(table: Path, tmp_path: Path) -> None:
    found = suspects(ready(table), "train", 3)
    with pytest.raises(DataError, match=r"labels\.csv, line 2: expected 'yes', 'no' or nothing.*found 'perhaps'"):
        ready(table, drop_suspects=written(tmp_path, found, "perhaps"))


def test_rows_that_changed_are_told(table: Path, tmp_path: Path) -> None:
    before = ready(table)
    first, second = suspects(before, "train", 3, 4)
    path = written(tmp_path, [first, second])
    rows = list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"))))
    rows[int(first.origin.rpartition(" ")[2]) - 1][1] = "c1" if first.given == "c0" else "c0"
    rows[int(second.origin.rpartition(" ")[2]) - 1][0] = "something else that stands here now"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError) as caught:
        ready(table, drop_suspects=path)
    message = str(caught.value)
    assert "was not made from these data" in message
    assert f"names '{first.origin}' with target '{first.given}', and the target there is" in message
    assert f"names '{second.origin}' with target '{second.given}', and the content there is another" in message


def test_rows_of_other_data_are_told(table: Path, tmp_path: Path) -> None:
    found = suspects(ready(table), "train", *range(5))
    path = written(tmp_path, found)
    other = table.rename(table.with_name("others.csv"))
    with pytest.raises(DataError, match=r"and there is no such row\..*And 2 more rows\."):
        ready(other, drop_suspects=path)


def test_rows_that_cleaning_has_left_out_already_are_no_mistake(table: Path, tmp_path: Path) -> None:
    before = ready(table)
    found = suspects(before, "train", 3, 4, 5)
    path = written(tmp_path, found)
    after = ready(table, drop_suspects=path, max_rows=20)
    gone = next(one for one in after.manifest.findings if one.kind == "suspects_gone")
    left = sum(one.kind == "suspects" for one in after.manifest.findings)
    assert gone.count + left >= 1


def test_a_table_without_the_columns_is_refused(table: Path, tmp_path: Path) -> None:
    found = suspects(ready(table), "train", 3)
    path = written(tmp_path, found, change=lambda text: text.replace("keep", "kept", 1))
    with pytest.raises(DataError, match=r"has no column 'keep'\. Did you mean 'kept'"):
        ready(table, drop_suspects=path)
    with pytest.raises(DataError, match=r"data\.drop_suspects: There is no file"):
        ready(table, drop_suspects=str(tmp_path / "nowhere.csv"))


def test_a_table_saved_by_a_spreadsheet_is_read(table: Path, tmp_path: Path) -> None:
    """With semicolons, a byte order mark and other line ends."""
    before = ready(table)
    text = table_of(suspects(before, "train", 3, 5))
    rows = list(csv.reader(io.StringIO(text)))
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=";", lineterminator="\r\n").writerows(rows)
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + file.getvalue().encode())
    after = ready(table, drop_suspects=str(tmp_path / "labels.csv"))
    assert len(after.splits["train"]) == len(before.splits["train"]) - 2


def test_pictures_are_known_by_their_content(tmp_path: Path) -> None:
    from PIL import Image

    from unfreeze.evidence.labels import _key

    for number in range(24):
        label = ("cat", "dog")[number % 2]
        (tmp_path / "p" / label).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 40 + 4 * number).save(tmp_path / "p" / label / f"{number}.png")
    before = prepare(DataRecipe(path=str(tmp_path / "p")), task=None, seed=0)
    part = before.splits["train"]
    one = suspect_of(
        part.origin[2],
        "train",
        part.inputs[2],
        part.targets[2],
        suggested="dog",
        score=0.2,
        content="",
        key=_key(part.inputs[2]),
    )
    path = written(tmp_path, [one])
    after = prepare(DataRecipe(path=str(tmp_path / "p"), drop_suspects=path), task=None, seed=0)
    assert set(part.origin) - set(after.splits["train"].origin) == {part.origin[2]}


# the table itself

texts = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
begun = st.one_of(texts, st.builds(str.__add__, st.sampled_from(["=", "+", "-", "@", "\t", "\r", "＝", "'="]), texts))


@given(st.lists(st.tuples(begun, begun, begun, begun), min_size=1, max_size=8))
def test_no_cell_is_a_formula_and_every_row_is_one(cells: list[tuple[str, str, str, str]]) -> None:
    made = [Suspect(f"r{n}", *four[:1], "train", *four[1:3], 0.5, four[3]) for n, four in enumerate(cells)]
    rows = list(csv.reader(io.StringIO(table_of(made), newline="")))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(cells) + 1
    for row, one in zip(rows[1:], made, strict=True):
        assert len(row) == len(COLUMNS)
        assert row[0] == one.row
        assert undone(row[1]) == one.origin or one.origin.startswith("'")
        for value in row:
            assert value[:1] not in {"=", "@", "\t", "\r", "＝"}
            assert value[:1] not in {"+", "-"} or value[1:2].isdigit() or value[1:2] == "."


@given(begun)
def test_harmless_can_be_undone(text: str) -> None:
    if not text.startswith("'"):
        assert undone(harmless(text)) == text


@given(st.lists(st.tuples(texts, texts, st.sampled_from("ab")), min_size=2, max_size=2, unique=True))
def test_a_row_is_known_by_origin_content_and_target(two: list[tuple[str, str, str]]) -> None:
    (origin, item, target), (origin_, item_, target_) = two
    same_but_spaces = origin == origin_ and target == target_ and item.split() == item_.split()
    if not same_but_spaces and (origin, target) != (origin_, target_):
        assert row_key(origin, item, target) != row_key(origin_, item_, target_)
    assert row_key(origin, item, target) == row_key(origin, item, target)
    assert row_key(origin, item, target) != row_key(origin, item + "x", target)
