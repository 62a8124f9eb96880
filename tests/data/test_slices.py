"""Slices: the groups of every row travel with it, through every source and whatever cleaning and splitting do."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from unfreeze.data.io import read_manifest, write_manifest
from unfreeze.data.manifest import Examples, Prepared
from unfreeze.data.prepare import labelled, prepare, unlabelled
from unfreeze.data.slices import MISSING, MOST, OTHERS, balancing, cell, groups_of, make_slice, training_groups
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

Records = list[dict[str, Any]]


def records(count: int, **columns: Any) -> Records:
    """Distinct texts of two classes; other columns from functions of the row's number."""
    return [
        {
            "text": f"sentence number {number} of a long story",
            "label": f"c{number % 2}",
            **{name: value(number) for name, value in columns.items()},
        }
        for number in range(count)
    ]


def ready(objects: object, *slices: str, **options: Any) -> Prepared:
    return prepare(DataRecipe(**options), task=None, seed=0, objects=objects, slices=slices)


def kept(prepared: Prepared, column: str) -> dict[str, str]:
    """The group of each input, over all splits."""
    return {
        str(item): group
        for part in prepared.splits.values()
        for item, group in zip(part.inputs, part.meta[column], strict=True)
    }


def as_columns(rows: Records) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


def as_csv(folder: Path, rows: Records) -> Path:
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "rows.csv"


SOURCES: dict[str, Callable[[Path, Records], Any]] = {
    "list of dicts": lambda _, rows: rows,
    "dict of columns": lambda _, rows: as_columns(rows),
    "DataFrame": lambda _, rows: pd.DataFrame(rows),
    "CSV": as_csv,
}

values = st.sampled_from(["north", "south", "ost & west", "", None, "7", "a,b"])
ages = st.one_of(st.none(), st.integers(0, 99))


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_row_keeps_its_own_group(tmp_path: Path, source: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(20, 60))
    rows = records(
        count, region=lambda _: data.draw(values), age=lambda _: data.draw(ages), copies=lambda _: data.draw(ages)
    )
    # Some rows repeat others, some have no label, some no text: they leave, and the others keep what is theirs.
    for row in rows:
        if data.draw(st.integers(0, 9)) == 0:
            row["label"] = None
    rows += [dict(rows[data.draw(st.integers(0, count - 1))]) for _ in range(5)]
    given_ = SOURCES[source](tmp_path, rows)
    options = {"path": str(given_)} if isinstance(given_, Path) else {}
    objects = None if isinstance(given_, Path) else given_
    try:
        prepared = ready(objects, "region", "age", validation_share=0.2, test_share=0.2, **options)
    except DataError:  # too few rows or classes for three splits, which other tests are about
        return
    slices = {one.column: one for one in prepared.manifest.slices}
    for column in ("region", "age"):
        found = kept(prepared, column)
        wanted: dict[str, set[str]] = {}
        for row in rows:
            wanted.setdefault(row["text"], set()).update(groups_of(slices[column], [cell(row[column])]))
        assert found
        assert all(group in wanted[text] for text, group in found.items())
        assert set(found.values()) <= set(slices[column].groups)
    for part in prepared.splits.values():
        assert set(part.meta) == {"region", "age"}
        assert all(len(groups) == len(part) for groups in part.meta.values())


@given(st.lists(st.one_of(st.none(), st.text(max_size=3), st.integers(-50, 50).map(str)), min_size=1, max_size=80))
def test_each_value_has_one_group_and_every_group_a_value(cells: list[str | None]) -> None:
    cleaned = [cell(value) for value in cells]
    made = make_slice("x", cleaned)
    groups = groups_of(made, cleaned)
    assert len(groups) == len(cells)
    assert set(groups) == set(made.groups)
    assert len(set(made.groups)) == len(made.groups) <= MOST + 2
    by_value: dict[str | None, str] = {}
    assert all(by_value.setdefault(value, group) == group for value, group in zip(cleaned, groups, strict=True))


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=30, max_size=120))
def test_numbers_are_cut_in_their_order(numbers: list[float]) -> None:
    made = make_slice("x", [cell(number) for number in numbers])
    groups = groups_of(made, [cell(number) for number in numbers])
    places = {name: place for place, name in enumerate(made.groups)}
    ordered = [places[group] for _, group in sorted(zip(numbers, groups, strict=True), key=lambda pair: pair[0])]
    assert ordered == sorted(ordered)
    if len(set(numbers)) > 4 * MOST:
        assert len(made.groups) == 4
        assert max(Counter(groups).values()) <= 0.25 * len(numbers) + max(Counter(numbers).values())


def test_quarters_are_named_by_their_ends() -> None:
    made = make_slice("age", [str(age) for age in range(20, 100)])
    assert made.groups == ("up to 39", "over 39 to 59", "over 59 to 79", "over 79")
    assert groups_of(made, ["39", "40", "1000", None, "old"]) == [
        "up to 39",
        "over 39 to 59",
        "over 79",
        MISSING,
        OTHERS,
    ]


def test_a_number_that_nearly_all_rows_have_is_still_cut() -> None:
    made = make_slice("x", [*map(str, range(15)), *["15"] * 400])
    assert made.groups == ("up to 14", "over 14")


def test_codes_with_leading_zeros_are_no_numbers() -> None:
    made = make_slice("zip", [f"{number:05}" for number in range(40)] + ["00001"] * 3)
    assert not made.numbers
    assert made.groups[0] == "00001"


def test_many_values_keep_the_largest_groups_and_say_so() -> None:
    prepared = ready(records(200, city=lambda n: f"city {int(n**0.5)}"), "city")
    (made,) = prepared.manifest.slices
    assert len(made.groups) == MOST + 1
    assert made.groups[-1] == OTHERS
    assert made.groups[0] == "city 13"
    (finding,) = [one for one in prepared.manifest.findings if one.kind == "slices"]
    assert "15 values" in finding.message
    assert "12 largest" in finding.message


def test_whole_numbers_read_alike_from_every_source(tmp_path: Path) -> None:
    rows = records(40, stars=lambda n: float(n % 3))
    first = kept(ready(rows, "stars"), "stars")
    assert set(first.values()) == {"0", "1", "2"}
    assert kept(ready(None, "stars", path=str(as_csv(tmp_path, rows))), "stars") == first


def test_a_column_that_is_not_there_is_told_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column 'regoin' \(evaluation\.slices\).*Did you mean 'region'"):
        ready(records(40, region=str), "regoin")


@pytest.mark.parametrize("column", ["text", "label"])
def test_input_and_target_are_no_slices(column: str) -> None:
    with pytest.raises(DataError, match=f"evaluation.slices: column '{column}' is"):
        ready(records(40), column, text="text", target="label")


def test_a_slice_is_never_taken_for_the_input_or_the_target() -> None:
    """Called as inputs and targets are before all others, with the longest texts and few values: and yet neither."""
    rows = [
        {
            "text": f"a much longer text of {number} words that go on and on",
            "label": f"k{number % 3}",
            "body": row["text"],
            "grade": row["label"],
        }
        for number, row in enumerate(records(60))
    ]
    prepared = ready(rows, "text", "label")
    roles = {column.name: column.role for column in prepared.manifest.columns}
    assert roles == {"text": "slice", "label": "slice", "body": "text", "grade": "target"}
    assert all(item.startswith("sentence number") for item in prepared.splits["train"].inputs)  # type: ignore[union-attr]


def test_a_slice_may_also_keep_rows_together() -> None:
    rows = records(120, patient=lambda n: f"p{n // 10}")
    prepared = ready(rows, "patient")
    assert [column.role for column in prepared.manifest.columns if column.name == "patient"] == ["group"]
    patients = [set(part.meta["patient"]) for part in prepared.splits.values()]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]


def test_a_source_without_the_column_has_missing_groups(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    with_column = as_csv(tmp_path, records(60, region=lambda n: "nsew"[n % 4]))
    without = as_csv(tmp_path / "held", [{**row, "text": f"other {row['text']}"} for row in records(20)])
    prepared = ready(None, "region", path=str(with_column), test=str(without))
    assert set(prepared.splits["test"].meta["region"]) == {MISSING}
    assert MISSING not in prepared.splits["train"].meta["region"]


def pictures(folder: Path) -> Path:
    """Pictures in class folders, and a table that tells the device of each but one."""
    lines = []
    for number in range(24):
        label = ("cat", "dog")[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((24, 24), 40 + 4 * number).save(folder / label / f"{number}.png")
        lines.append({"file_name": f"{label}/{number}.png", "device": f"camera {number % 3}"})
    as_csv(folder, lines[:-1]).rename(folder / "metadata.csv")
    return folder


def test_pictures_have_groups_too(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    prepared = ready(None, "device", path=str(folder))
    for part in prepared.splits.values():
        for origin, group in zip(part.origin, part.meta["device"], strict=True):
            number = int(Path(origin).stem)
            assert group == (MISSING if number == 23 else f"camera {number % 3}")


def test_a_table_of_pictures_has_groups(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures")
    rows = [
        {"image": f"{label}/{number}.png", "label": label, "device": f"camera {number % 3}"}
        for number in range(24)
        for label in [("cat", "dog")[number % 2]]
    ]
    table = as_csv(folder, rows)
    prepared = ready(None, "device", path=str(table), image="image", target="label")
    assert sum(len(part) for part in prepared.splits.values()) == 24
    for part in prepared.splits.values():
        for item, group in zip(part.inputs, part.meta["device"], strict=True):
            assert group == f"camera {int(item.path.stem) % 3}"  # type: ignore[union-attr]


def test_new_data_are_told_apart_as_the_training_rows_were(tmp_path: Path) -> None:
    prepared = ready(records(80, region=lambda n: "nsew"[n % 4], age=lambda n: n + 10), "region", "age")
    write_manifest(tmp_path / "manifest.json", prepared.manifest)
    manifest = read_manifest(tmp_path / "manifest.json")
    assert manifest.slices == prepared.manifest.slices
    new = [
        {"text": "one", "label": "c0", "region": "w", "age": 11},
        {"text": "two", "label": "c1", "region": "mars", "age": 200},
        {"text": "three", "label": "c1", "region": None, "age": None},
    ]
    for read in (labelled, unlabelled):
        examples, _ = read(new, manifest, DataRecipe())
        assert list(examples.meta["region"]) == ["w", OTHERS, MISSING]
        assert list(examples.meta["age"]) == ["up to 29", "over 69", MISSING]
    assert unlabelled([{"text": "one"}], manifest, DataRecipe())[0].meta == {}


def test_old_manifests_have_no_slices(tmp_path: Path) -> None:
    prepared = ready(records(40))
    write_manifest(tmp_path / "manifest.json", prepared.manifest)
    text = (tmp_path / "manifest.json").read_text().replace('"slices": []', '"target_mean": 0.0')
    (tmp_path / "manifest.json").write_text(text)
    assert read_manifest(tmp_path / "manifest.json").slices == ()


def test_the_fingerprint_changes_with_the_groups_only_where_there_are_slices() -> None:
    one, other = records(40, region=lambda n: "ns"[n % 2]), records(40, region=lambda n: "ns"[n // 20])
    assert ready(one).manifest.fingerprint == ready(other).manifest.fingerprint
    assert ready(one, "region").manifest.fingerprint != ready(other, "region").manifest.fingerprint


def test_training_groups_cross_slices_and_the_class() -> None:
    prepared = ready(records(80, region=lambda n: "ns"[n % 4 > 1], sex=lambda n: "fm"[n % 8 > 3]), "region", "sex")
    train = prepared.splits["train"]
    assert set(training_groups(train, prepared.manifest, ["region"])) == {"n · c0", "n · c1", "s · c0", "s · c1"}
    assert len(set(training_groups(train, prepared.manifest, None))) == 8


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_balancing_makes_every_group_count_alike(groups: list[str]) -> None:
    weights = balancing(groups)
    sums = Counter[str]()
    for group, weight in zip(groups, weights, strict=True):
        sums[group] += weight  # type: ignore[assignment]
    assert sum(weights) == pytest.approx(len(groups))
    assert list(sums.values()) == pytest.approx([len(groups) / len(sums)] * len(sums))


def test_examples_without_slices_have_no_groups() -> None:
    assert Examples(["a"], ["b"], ["c"]).meta == {}
