"""Tables as people have them: every kind of damage costs the damaged rows and nothing else."""

from __future__ import annotations

import codecs
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data.sources import ReadOptions, read_source
from unfreeze.errors import DataError

OPTIONS = ReadOptions()
BODY = "".join(f"this is text number {i},{'pos' if i % 2 else 'neg'}\n" for i in range(20))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n" + BODY),
        ("a.csv", codecs.BOM_UTF8 + b"text,label\n" + BODY.encode()),
        ("a.csv", ("text,label\n" + BODY).encode("utf-16")),
        ("a.csv", ("text,label\r\n" + BODY.replace("\n", "\r\n")).encode()),
        ("a.csv", ("text;label\n" + BODY.replace(",", ";")).encode()),
        ("a.tsv", ("text\tlabel\n" + BODY.replace(",", "\t")).encode()),
        ("a.csv.gz", gzip.compress(("text,label\n" + BODY).encode())),
        ("a.csv", "text,label\n\n" + BODY.replace("\n", "\n\n")),
    ],
    ids=["plain", "bom", "utf-16", "crlf", "semicolon", "tsv", "gzip", "blank-lines"],
)
def test_every_dialect_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    table = read_source(write(tmp_path / name, content), OPTIONS).table
    assert list(table.columns) == ["text", "label"]
    assert table.columns["text"][3] == "this is text number 3"
    assert len(table) == 20


def test_ragged_rows_are_quarantined_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + BODY + "one,two,three\nonly one\n" + BODY)
    reading = read_source(path, OPTIONS)
    assert [row.origin for row in reading.quarantine] == ["a.csv, line 22", "a.csv, line 23"]
    assert "3 fields where the header has 2" in reading.quarantine[0].reason
    assert len(reading.table) == 40


def test_an_unclosed_quote_costs_one_row(tmp_path: Path) -> None:
    text = 'text,label\n"a, quoted",pos\n"two\nlines",neg\n"never, closed,pos\n' + BODY
    reading = read_source(write(tmp_path / "a.csv", text), OPTIONS)
    assert reading.table.columns["text"][:2] == ["a, quoted", "two\nlines"]
    assert len(reading.table) == 22
    assert [row.origin for row in reading.quarantine] == ["a.csv, line 5"]


def test_quotes_in_tab_separated_text_are_plain_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Hello" he said\tpos\n"unpaired\tneg\nplain "x" text\tpos\n')
    assert read_source(path, OPTIONS).table.columns["text"] == ['"Hello" he said', '"unpaired', 'plain "x" text']


def test_nul_bytes_are_quarantined(tmp_path: Path) -> None:
    reading = read_source(write(tmp_path / "a.csv", "text,label\nbad\0text,pos\n" + BODY), OPTIONS)
    assert [row.reason for row in reading.quarantine] == ["contains NUL bytes"]
    assert len(reading.table) == 20


def test_lines_in_another_encoding_are_quarantined(tmp_path: Path) -> None:
    content = ("text,label\n" + BODY + "große Freude,pos\n").encode() + "größer,neg\n".encode("latin-1")
    reading = read_source(write(tmp_path / "a.csv", content), OPTIONS)
    assert reading.table.columns["text"][-1] == "große Freude"
    assert [row.origin for row in reading.quarantine] == ["a.csv, line 23"]


def test_a_file_in_one_other_encoding_is_recognised(tmp_path: Path) -> None:
    words = "Übermäßig große Freude über schöne Grüße aus München im größten Gebäude\n"
    content = ("text;label\n" + "".join(f"{i} {words}".replace("\n", ";ja\n") for i in range(30))).encode("cp1252")
    reading = read_source(write(tmp_path / "a.csv", content), OPTIONS)
    assert reading.table.columns["text"][0].startswith("0 Übermäßig große")
    assert "encoding" in [finding.kind for finding in reading.findings]


def test_an_unknown_encoding_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="utf-16"):
        read_source(write(tmp_path / "a.csv", "text,label\n" + BODY), ReadOptions("utf-61"))


def test_a_missing_header_is_noticed(tmp_path: Path) -> None:
    rows = "".join(f"My favourite food is number {i}\t{i % 3}\tid{i}\n" for i in range(30))
    reading = read_source(write(tmp_path / "a.tsv", rows), OPTIONS)
    assert list(reading.table.columns) == ["column 1", "column 2", "column 3"]
    assert len(reading.table) == 30
    assert [finding.kind for finding in reading.findings] == ["no_header"]


def test_a_header_of_unusual_names_is_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "what they wrote,how angry\nI am fine,0.1\nI am not,0.9\nleave me,0.8\n")
    assert list(read_source(path, OPTIONS).table.columns) == ["what they wrote", "how angry"]


def test_repeated_and_empty_column_names_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ",text,text,label\n0,a b,c d,x\n1,e f,g h,y\n")
    assert list(read_source(path, OPTIONS).table.columns) == ["column 1", "text", "text (2)", "label"]


ROWS = [{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}, {"text": "e"}]


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        {"data": ROWS},
        {"text": ["a b", "c d", "e"], "label": ["x", "y", None]},
        {"text": {"0": "a b", "1": "c d", "2": "e"}, "label": {"0": "x", "1": "y", "2": None}},
        [["a b", "x"], ["c d", "y"], ["e", None]],
    ],
    ids=["rows", "wrapped", "columns", "pandas", "pairs"],
)
def test_every_shape_of_json_gives_the_same_columns(tmp_path: Path, content: object) -> None:
    table = read_source(write(tmp_path / "a.json", json.dumps(content)), OPTIONS).table
    assert table.columns == {"text": ["a b", "c d", "e"], "label": ["x", "y", None]}


def test_json_with_splits(tmp_path: Path) -> None:
    content = {"train": ROWS, "val": ROWS, "test": ROWS, "oos": ROWS}
    reading = read_source(write(tmp_path / "a.json", json.dumps(content)), OPTIONS)
    assert reading.table.split == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert [finding.kind for finding in reading.findings] == ["ignored_parts"]


def test_bad_lines_of_jsonl_are_quarantined(tmp_path: Path) -> None:
    lines = [json.dumps(ROWS[0]), '{"text": ', "[1, 2]", "", json.dumps(ROWS[1])]
    reading = read_source(write(tmp_path / "a.jsonl.gz", gzip.compress("\n".join(lines).encode())), OPTIONS)
    assert reading.table.columns["text"] == ["a b", "c d"]
    assert [row.origin for row in reading.quarantine] == ["a.jsonl.gz, line 2", "a.jsonl.gz, line 3"]


def test_parquet_with_class_names(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    info = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_source(tmp_path / "a.parquet", OPTIONS).table.columns == {"text": ["a", "b"], "label": ["no", "yes"]}


def test_a_folder_of_tables_has_splits(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv", "test-00000-of-00001.csv"):
        write(tmp_path / name, "text,label\n" + BODY)
    table = read_source(tmp_path, OPTIONS).table
    assert table.split == ["train"] * 20 + ["validation"] * 20 + ["test"] * 20


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b" \n \n", "is empty"),
        ("a.csv", b"text,label\n", "has a header .* but no rows"),
        ("a.csv.gz", b"not gzip", "cannot be read"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b"3", "expected a list of rows"),
        ("a.json", b'{"a": [1], "b": [1, 2]}', "equal length"),
        ("a.jsonl", b"x\ny\n", "no line is a JSON object"),
        ("a.parquet", b"PAR1 not really", "not readable Parquet"),
        ("a.xlsx", b"PK", "is of no known kind"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_source(write(tmp_path / name, content), OPTIONS)
    assert name in str(caught.value)


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "text,label\n" + BODY)
    with pytest.raises(DataError, match=r"Did you mean 'reviews\.csv'"):
        read_source(str(tmp_path / "revews.csv"), OPTIONS)


def test_an_unreachable_hub_is_one_line() -> None:
    with pytest.raises(DataError, match="Without a network") as caught:
        read_source("nobody/has-this-data-set", OPTIONS)
    assert "\n" not in str(caught.value)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=20))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]):
    import csv

    path = tmp_path_factory.mktemp("rows") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    table = read_source(path, OPTIONS).table
    assert list(zip(table.columns["text"], table.columns["label"], strict=True)) == rows


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_arbitrary_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("a.csv", "a.jsonl", "a.json"):
        try:
            reading = read_source(write(folder / name, data), OPTIONS)
        except DataError:
            continue
        assert all(len(column) == len(reading.table) for column in reading.table.columns.values())
