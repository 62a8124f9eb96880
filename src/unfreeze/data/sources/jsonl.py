"""JSON Lines: one object per line; a line that is none is quarantined."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding, Quarantined, Table
from unfreeze.data.sequences import origins
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, by_column, is_table
from unfreeze.data.sources._text import read_lines, undecodable
from unfreeze.data.stored import Gathered, blocks
from unfreeze.errors import DataError


def read(path: Path, options: ReadOptions) -> Reading:
    """Objects with their line (from 1)."""
    lines, findings = read_lines(path, options.encoding, ends="\n")
    table, numbers = Gathered(), array("q")
    bad: list[Quarantined] = []
    for block in blocks(enumerate(lines, 1)):
        records: list[dict[str, Any]] = []
        for number, line in block:
            if not line.strip():
                continue
            record, problem = _parse(line.removesuffix("\n"))
            if problem:
                shown = line.removesuffix("\n")[:200].encode("utf-8", "replace").decode()
                bad.append(Quarantined(f"{path.name}, line {number}", problem, {"line": shown}))
            else:
                records.append(record)
                numbers.append(number)
        if records:
            table.add(by_column(records), len(records))
    if not numbers and not bad:
        raise DataError(f"File '{path}' is empty.")
    if not numbers:
        raise DataError(
            f"File '{path}': no line is a JSON object; the first problem: {bad[0].origin}: {bad[0].reason}."
        )
    if bad:
        first = tuple(f"{row.origin}: {row.reason}" for row in bad[:3])
        findings.append(
            Finding("bad_rows", "warning", f"{len(bad)} lines of {path.name} are unreadable.", len(bad), first)
        )
    origin = origins(f"{path.name}, line", numbers)
    return Reading(Table(table.columns(), origin, root=path.parent), bad, findings)


def _parse(line: str) -> tuple[dict[str, Any], str]:
    if undecodable(line):
        return {}, "contains bytes that do not fit the file's encoding"
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return {}, f"not valid JSON: {error}"
    return (value, "") if isinstance(value, dict) else ({}, f"expected an object, found {type(value).__name__}")


SOURCE = Source("JSON Lines: one object per line", is_table(".jsonl", ".ndjson"), read)
