"""Tables beyond a size lie on disk: the same values, the same results, and memory for a batch."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import os
import random
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfreeze.data import stored
from unfreeze.data.duplicates import candidates, clusters, near_texts, plain_text, same_key
from unfreeze.data.manifest import Prepared
from unfreeze.data.prepare import labelled, prepare, unlabelled
from unfreeze.data.sequences import Lazy, below, each, origins, picked, side_by_side
from unfreeze.data.sources import Reading, ReadOptions, read_source
from unfreeze.data.splits import draw
from unfreeze.data.stored import Gathered, gathered
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

texts = st.text(st.characters(codec=None), max_size=12)  # halves of characters among them
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that has more than a few bytes."""
    monkeypatch.setattr(stored, "LARGE", 0)


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down."""
    return repr(one) == repr(other)


# sequences


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.none() | texts | plain, min_size=1, max_size=30), data=st.data())
def test_a_column_on_disk_is_the_list(on_disk: None, values: list[Any], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    table = Gathered()
    for start in range(0, len(values), size):
        part = values[start : start + size]
        table.add({"a": part}, len(part))
    column = table.columns()["a"]
    assert isinstance(column, Lazy)
    assert len(column) == len(values)
    assert same(list(column), values)
    assert same([column[row] for row in range(-len(values), len(values))], values + values)
    cut = data.draw(st.slices(len(values)))
    assert same(column[cut], values[cut])
    assert column == values
    assert values == column
    with pytest.raises(IndexError):
        column[len(values)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(texts, min_size=1, max_size=30), data=st.data())
def test_what_is_made_of_a_column_on_disk_is_what_is_made_of_the_list(
    on_disk: None, values: list[str], data: st.DataObject
) -> None:
    column = gathered(values)
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=20)), dtype=np.int64)
    again = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64)
    assert picked(column, rows) == picked(values, rows)
    assert list(picked(picked(column, rows), again)) == picked(picked(values, rows), again)
    assert list(each(str.upper, column)) == each(str.upper, values)
    assert list(side_by_side(column, column)) == side_by_side(values, values)
    joined, lists = below([column, values, column]), below([values, values, values])
    assert list(joined) == lists
    assert [joined[row] for row in range(len(lists))] == lists


def test_a_column_that_begins_late_or_ends_early_has_none_there(on_disk: None) -> None:
    table = Gathered()
    table.add({"a": ["1", "2"]}, 2)
    table.add({"b": ["3"]}, 1)
    table.add({"a": ["4"], "b": [5]}, 1)
    assert {name: list(column) for name, column in table.columns().items()} == {
        "a": ["1", "2", None, "4"],
        "b": [None, None, "3", 5],
    }


def test_values_that_json_does_not_hold_stay_as_they_are(on_disk: None) -> None:
    """Also numbers that are equal to others of another type, and tuples."""
    values = [b"\x89PNG", {"bytes": b"1", "path": None}, (1, 2), 10**5000, {1: 2}, "text"]
    table = Gathered()
    for value in values:
        table.add({"a": [value]}, 1)
    found = list(table.columns()["a"])
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_origins_are_made_when_they_are_asked_for() -> None:
    found = origins("a.csv, line", [2, 3, 7])
    assert found == ["a.csv, line 2", "a.csv, line 3", "a.csv, line 7"]
    assert found[-1] == "a.csv, line 7"


def test_a_full_disk_is_told_in_a_line(on_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            def lacks(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            return lacks if name == "write" else lambda *_: 0

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(DataError, match=r"No space left on device.* TMPDIR"):
        gathered(["one", "two"])


# sources


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]) -> tuple[Any, Any]:
    small = read(path)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "LARGE", 200)
        return small, read(path)


def written(path: Path) -> Path:
    """Tables with what is hard in them, in each format."""
    draw = random.Random(4)
    words = ["amber", "brook", "cedar", "größer", "ember", 'a "word"', "two\nlines", "semi;colon", "东京"]
    rows = [(" ".join(draw.choices(words, k=8)) + f" {i}", f"label {i % 3}") for i in range(120)]
    if path.name.startswith("a.csv") or path.suffix == ".tsv":
        mark = "\t" if path.suffix == ".tsv" else ","
        quoted = [mark.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
        quoted[40:40] = ["too" + mark + "many" + mark + "fields", 'an "open" quote"' + mark + '"', "nul\0" + mark + "x"]
        encoding = "utf-16" if path.suffix == ".tsv" else "utf-8"
        content = f"text{mark}label\r\n{chr(10).join(quoted)}\n".encode(encoding)
        content += b"" if path.suffix == ".tsv" else b"caf\xe9,label 1\n"
    elif ".jsonl" in path.name:
        lines = [json.dumps({"text": text, "label": label, "more": [1, {"a": None}]}) for text, label in rows]
        lines[30:30] = ["no json", "", "[1]", json.dumps({"text": "half \ud800", "label": "label 1", "late": 1.5})]
        content = "\n".join(lines).encode()
    else:
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({"text": [text for text, _ in rows], "label": [i % 3 for i in range(len(rows))]})
        parquet.write_table(table, path, row_group_size=50)
        return path
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_a_large_file_is_read_as_a_small_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def content(path: Path) -> Any:
        reading = read_source(path, ReadOptions())
        table = reading.table
        columns = {name: list(column) for name, column in table.columns.items()}
        on_disk = [isinstance(column, Lazy) for column in table.columns.values()]
        return on_disk, columns, list(table.origin), reading.quarantine, reading.findings

    small, large = both_ways(written(tmp_path / name), monkeypatch, content)
    assert not any(small[0])
    assert all(large[0])
    assert same(small[1:], large[1:])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=400) | st.text('",\n\ra\t;é\ufeff', min_size=1, max_size=200))
def test_any_bytes_are_read_alike(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, content: bytes | str
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(path: Path) -> Any:
        try:
            reading: Reading = read_source(path, ReadOptions())
        except DataError as error:
            return str(error)
        columns = {name: list(column) for name, column in reading.table.columns.items()}
        return columns, list(reading.table.origin), reading.quarantine, reading.findings

    small = read(path)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "LARGE", 2)
        assert same(read(path), small)


# from rows to examples


def summary(prepared: Prepared) -> Any:
    splits = {
        split: (list(part.inputs), list(part.targets), list(part.origin), {n: list(g) for n, g in part.meta.items()})
        for split, part in prepared.splits.items()
    }
    return asdict(prepared.manifest), splits, prepared.quarantine


def rough_table(path: Path, rows: int = 400, seed: int = 7) -> Path:
    """Duplicates, near duplicates, contradictions, groups, rare and missing labels."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(300)]
    made: list[dict[str, Any]] = []
    for i in range(rows):
        if made and i % 9 == 0:
            row = dict(draw.choice(made))
            row["text"] += " again" if i % 2 and row["text"] else ""
            row["label"] = draw.choice(["one", "two", row["label"]])
        else:
            row = {"text": " ".join(draw.choices(words, k=12)), "label": ["one", "two", "Two", "three"][i % 4]}
        row["site"] = f"s{draw.randrange(20)}"
        row["group"] = f"g{draw.randrange(90)}"
        made.append({**row, "label": "" if i % 97 == 0 else row["label"], "text": "" if i % 89 == 0 else row["text"]})
    made[5]["label"] = "rare"
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


@pytest.mark.parametrize("options", [{}, {"max_rows": 150}, {"missing": "keep"}, {"pair": "site", "text": "text"}])
def test_what_is_prepared_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    path = rough_table(tmp_path / "a.jsonl")

    def read(path: Path) -> Any:
        slices = () if "pair" in options else ("site",)
        return summary(prepare(DataRecipe(path=str(path), **options), task=None, seed=3, slices=slices))

    small, large = both_ways(path, monkeypatch, read)
    assert same(small, large)


def test_given_splits_and_new_data_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for seed, split in enumerate(("train", "test")):
        rough_table(folder / f"{split}.jsonl", 200, seed)
    with (folder / "test.jsonl").open("a") as test, (folder / "train.jsonl").open() as train:
        test.writelines(itertools.islice(train, 9))  # leaks
    recipe = DataRecipe(path=str(folder))

    def read(path: Path) -> Any:
        prepared = prepare(recipe, task=None, seed=3)
        seen = [how(path, prepared.manifest, recipe) for how in (labelled, unlabelled)]
        told = [([list(e.inputs), list(e.targets), list(e.origin), e.split], bad) for e, bad in seen]
        return summary(prepared), told

    small, large = both_ways(folder, monkeypatch, read)
    assert same(small, large)


def test_memory_grows_by_numbers_and_not_by_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a further row takes is far less than its text, both at the peak and when all is prepared."""
    monkeypatch.setattr(stored, "LARGE", 100_000)
    prepare(DataRecipe(path=str(wordy_table(tmp_path, 200, 10))), task=None, seed=0)
    words, few, many = 200, 1100, 3100
    peaks, held = [], []
    for rows in (few, many):
        path = wordy_table(tmp_path, rows, words)
        gc.collect()
        tracemalloc.start()
        try:
            prepared = prepare(DataRecipe(path=str(path)), task=None, seed=0)
            gc.collect()
            now, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        peaks.append(peak)
        held.append(now)
        assert sum(prepared.manifest.rows.values()) == rows
        del prepared
    characters = 4 * words
    assert (peaks[1] - peaks[0]) / (many - few) < characters / 2
    assert (held[1] - held[0]) / (many - few) < characters / 8


def wordy_table(folder: Path, rows: int, words: int) -> Path:
    draw = random.Random(rows + words)
    path = folder / f"{rows}-{words}.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        for i in range(rows):
            file.write(f"{' '.join(''.join(draw.choices('abcdef', k=3)) for _ in range(words))},l{i % 2}\n")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="open files are told by Linux only")
def test_temporary_files_are_gone_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no name that a killed process could leave behind, and their space is free when nobody reads them."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(stored, "LARGE", 1000)
    path = wordy_table(tmp_path, 300, 20)

    def ours() -> list[str]:
        links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        return [
            to for link in links if link.exists() or link.is_symlink() if (to := _target(link)).startswith(str(place))
        ]

    prepared = prepare(DataRecipe(path=str(path)), task=None, seed=0)
    assert isinstance(prepared.splits["train"].inputs, Lazy)
    assert ours()
    assert list(place.iterdir()) == []
    del prepared
    gc.collect()
    assert ours() == []
    path.write_text("text,label\n" + '"never closed,' * 10)
    with pytest.raises(DataError):
        prepare(DataRecipe(path=str(path)), task=None, seed=0)
    gc.collect()
    assert ours() == []


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


# the arrays behind duplicates and draws


small_numbers = st.lists(st.integers(0, 8), min_size=1, max_size=40)


@given(small_numbers)
def test_rows_of_the_same_key(keys: list[int]) -> None:
    expected = [[keys.index(key), i] for i, key in enumerate(keys) if keys.index(key) != i]
    assert same_key(keys).tolist() == expected
    assert same_key(np.array(keys)).tolist() == expected
    with_none = [None if key == 0 else str(key) for key in keys]
    assert same_key(with_none).tolist() == [[a, b] for a, b in expected if keys[a]]


@given(st.data())
def test_rows_that_are_connected(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 20))
    some = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(some, some), max_size=20))
    near = {row: {row} for row in range(count)}
    for a, b in pairs:
        union = near[a] | near[b]
        for row in union:
            near[row] = union
    assert clusters(count, np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist() == [min(near[r]) for r in near]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_candidates_share_a_key(keys: list[tuple[int, int]]) -> None:
    found = {tuple(pair) for pair in candidates(np.array(keys, dtype=np.uint64).T).tolist()}
    for a, b in found:
        assert a < b
        assert any(x == y for x, y in zip(keys[a], keys[b], strict=True))
    for column in range(2):
        for b in range(len(keys)):
            first = next(i for i, key in enumerate(keys) if key[column] == keys[b][column])
            assert first == b or (first, b) in found


def test_near_texts_are_found_on_disk_too(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(2)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(200)]
    items = [" ".join(draw.choices(words, k=15)) for _ in range(60)]
    items += [f"{items[i]} more" for i in range(0, 60, 3)] + [items[i].upper() + "!" for i in range(1, 60, 3)]
    items += ["short", "Short", "", ""]
    small = near_texts(items).tolist()
    monkeypatch.setattr(stored, "LARGE", 100)
    assert near_texts(gathered(items)).tolist() == small
    pairs = {tuple(pair) for pair in small}
    assert {(i, 60 + i // 3) for i in range(0, 60, 3)} <= pairs
    assert {(i, 80 + i // 3) for i in range(1, 60, 3)} <= pairs
    assert all(plain_text(items[a]).split()[:14] == plain_text(items[b]).split()[:14] for a, b in pairs)


@settings(deadline=None)
@given(st.data())
def test_whole_units_are_drawn_in_the_order_of_their_lots(data: st.DataObject) -> None:
    """As written down: large units first, then by the smallest lot; each where its strata lack most."""
    import hashlib
    from collections import Counter

    from unfreeze.data.splits import _quotas

    count = data.draw(st.integers(1, 30))
    keys = [hashlib.sha256(bytes([data.draw(st.integers(0, 20))])).digest() for _ in range(count)]
    unit = data.draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    kinds = data.draw(st.lists(st.sampled_from("abc"), min_size=count, max_size=count))
    shares: dict[Any, float] = {"train": 0.6, "validation": 0.2, "test": 0.2}
    members = {u: [row for row in range(count) if unit[row] == u] for u in unit}
    lots = {
        u: min(hashlib.blake2b(f"7:{keys[row].hex()}".encode(), digest_size=16).digest() for row in rows)
        for u, rows in members.items()
    }
    left, chosen = _quotas(Counter(kinds), shares), [""] * count
    for u in sorted(members, key=lambda u: (-len(members[u]), lots[u], members[u][0])):
        content = Counter(kinds[row] for row in members[u])
        best = max(shares, key=lambda split: sum(n * left[split][kind] for kind, n in content.items()))
        for row in members[u]:
            chosen[row] = best
            left[best][kinds[row]] -= 1
    found = draw(np.array([list(key) for key in keys], dtype=np.uint8), np.array(unit), kinds, shares, 7)
    assert found == chosen


def test_iterators_are_read_once(on_disk: None) -> None:
    def numbers() -> Iterator[str]:
        yield from map(str, itertools.islice(itertools.count(), 5000))

    assert gathered(numbers()) == [str(i) for i in range(5000)]
