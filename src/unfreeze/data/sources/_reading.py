"""What every source gives back, and the few things that all of them need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding, Quarantined, SplitName, Table
from unfreeze.data.sequences import below
from unfreeze.data.values import whole_characters

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_SPLITS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
}


@dataclass(frozen=True)
class ReadOptions:
    """What the recipe says about reading."""

    encoding: str | None = None


@dataclass
class Reading:
    """A table, the rows that could not be read, and what was noticed while reading."""

    table: Table
    quarantine: list[Quarantined] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """One kind of data: whether it is of that kind, and how it is read."""

    what: str
    claims: Callable[[object], bool]
    read: Callable[[Any, ReadOptions], Reading]


def split_name(word: object) -> SplitName | None:
    """The split that a word means ("dev" → validation); none when it means none."""
    return _SPLITS.get(str(word).strip().lower())


def suffix_of(path: Path) -> str:
    """The suffix that tells a table's format, without .gz; "" when it is no table."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in TABLE_SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """The name of a table without its suffixes: train.csv.gz → train."""
    return path.name[: -len(suffix_of(path)) - (3 if path.name.lower().endswith(".gz") else 0)]


def is_table(*suffixes: str) -> Callable[[object], bool]:
    """Whether something is a file with one of these suffixes."""
    return lambda data: isinstance(data, Path) and data.is_file() and suffix_of(data) in suffixes


def from_records(records: Sequence[Mapping[str, Any]], origin: Sequence[str], root: Path | None = None) -> Table:
    """Dicts to columns, in the order of first appearance; what a row lacks is None."""
    return Table({**by_column(records)}, origin, root=root)


def by_column(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of dicts by their name."""
    names = list(dict.fromkeys(whole_characters(str(name)) for record in records for name in record))
    plain = [{whole_characters(str(name)): value for name, value in record.items()} for record in records]
    return {name: [record.get(name) for record in plain] for name in names}


def joined(readings: Sequence[tuple[SplitName | None, Reading]]) -> Reading:
    """Several readings below each other; a split given here wins over none, not over the reading's own."""
    tables = [reading.table for _, reading in readings]
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns = {name: below([table.columns.get(name, [None] * len(table)) for table in tables]) for name in names}
    splits: list[Any] = []
    for split, reading in readings:
        splits += reading.table.split or [split] * len(reading.table)
    known = any(split is not None for split in splits)
    return Reading(
        Table(
            columns,
            below([table.origin for table in tables]),
            [split or "train" for split in splits] if known else None,
            next((table.root for table in tables if table.root), None),
        ),
        [row for _, reading in readings for row in reading.quarantine],
        [finding for _, reading in readings for finding in reading.findings],
    )
