"""JSON Lines: one object per line; a line that is none is quarantined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding, Quarantined
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, from_records, is_table
from unfreeze.data.sources._text import decode, read_bytes, undecodable
from unfreeze.errors import DataError


def read(path: Path, options: ReadOptions) -> Reading:
    """Objects with their line (from 1)."""
    text, findings = decode(read_bytes(path), path, options.encoding)
    records: list[dict[str, Any]] = []
    origin: list[str] = []
    bad: list[Quarantined] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        record, problem = _parse(line)
        if problem:
            bad.append(Quarantined(where, problem, {"line": line[:200].encode("utf-8", "replace").decode()}))
        else:
            records.append(record)
            origin.append(where)
    if not records and not bad:
        raise DataError(f"File '{path}' is empty.")
    if not records:
        raise DataError(
            f"File '{path}': no line is a JSON object; the first problem: {bad[0].origin}: {bad[0].reason}."
        )
    if bad:
        first = tuple(f"{row.origin}: {row.reason}" for row in bad[:3])
        findings.append(
            Finding("bad_rows", "warning", f"{len(bad)} lines of {path.name} are unreadable.", len(bad), first)
        )
    return Reading(from_records(records, origin, path.parent), bad, findings)


def _parse(line: str) -> tuple[dict[str, Any], str]:
    if undecodable(line):
        return {}, "contains bytes that do not fit the file's encoding"
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return {}, f"not valid JSON: {error}"
    return (value, "") if isinstance(value, dict) else ({}, f"expected an object, found {type(value).__name__}")


SOURCE = Source("JSON Lines: one object per line", is_table(".jsonl", ".ndjson"), read)
