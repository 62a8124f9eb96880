"""JSON: a list of rows, a dict of columns, a dict of splits, or any of these under "data"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding, Quarantined, Table
from unfreeze.data.sequences import origins
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, from_records, is_table, joined, split_name
from unfreeze.data.sources._text import read_text, undecodable
from unfreeze.errors import DataError

_WRAPPERS = ("data", "rows", "examples", "records")


def read(path: Path, options: ReadOptions) -> Reading:
    """Rows with their number (from 1); what is no row is quarantined."""
    text, findings = read_text(path, options.encoding)
    if undecodable(text):
        line = next(i for i, line in enumerate(text.split("\n"), 1) if undecodable(line))
        raise DataError(f"File '{path}', line {line}: bytes that do not fit the file's encoding.")
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"File '{path}' is not valid JSON: {error}.") from error
    reading = from_content(content, path.name)
    reading.table.root = path.parent
    reading.findings[:0] = findings
    return reading


def from_content(content: Any, name: str) -> Reading:
    """Rows, columns or splits of plain Python values as a table."""
    if isinstance(content, list):
        return _rows(content, name)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{name}: expected a list of rows or a dict of columns; found {type(content).__name__}.")
    splits = {key: split for key in content if (split := split_name(key)) and isinstance(content[key], list | dict)}
    if splits and len(set(splits.values())) == len(splits):
        return _splits(content, splits, name)
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, list) and (len(content) == 1 or all(isinstance(row, dict) for row in inner)):
            return from_content(inner, name)
    columns = {key: list(v.values()) if isinstance(v, dict) else v for key, v in content.items()}
    lengths = {key: len(v) if isinstance(v, list) else None for key, v in columns.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        shown = ", ".join(f"{key}: {'no list' if n is None else n}" for key, n in list(lengths.items())[:6])
        raise DataError(f"{name}: expected columns of equal length; found {shown}.")
    count = next(iter(lengths.values())) or 0
    return Reading(Table(columns, origins(f"{name}, row", range(1, count + 1))))


def _splits(content: dict[str, Any], splits: dict[str, Any], name: str) -> Reading:
    reading = joined([(split, from_content(content[key], f"{name}, {key}")) for key, split in splits.items()])
    ignored = sorted(set(content) - set(splits))
    if ignored:
        reading.findings.append(
            Finding("ignored_parts", "info", f"{name}: not used: {', '.join(ignored)}.", len(ignored))
        )
    return reading


def _rows(rows: list[Any], name: str) -> Reading:
    """Dicts, or lists of equal length (pairs are text and label)."""
    if rows and all(isinstance(row, list | tuple) for row in rows[:20]):
        width = len(rows[0])
        names = ["text", "label"] if width == 2 else [f"column {i + 1}" for i in range(width)]
        rows = [
            dict(zip(names, row, strict=True)) if isinstance(row, list | tuple) and len(row) == width else row
            for row in rows
        ]
    elif rows and all(isinstance(row, str) for row in rows[:20]):
        rows = [{"text": row} if isinstance(row, str) else row for row in rows]
    good = [(i, row) for i, row in enumerate(rows, 1) if isinstance(row, dict)]
    bad = [
        Quarantined(f"{name}, row {i}", f"not a row of named values: {str(row)[:60]}", {})
        for i, row in enumerate(rows, 1)
        if not isinstance(row, dict)
    ]
    return Reading(from_records([row for _, row in good], origins(f"{name}, row", (i for i, _ in good))), bad)


SOURCE = Source("JSON: rows, columns or splits", is_table(".json"), read)
