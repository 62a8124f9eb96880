"""Tables of comma-, tab-, semicolon- or bar-separated values, read row by row so that one bad row costs one row."""

from __future__ import annotations

import csv
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unfreeze.data.manifest import Finding, Quarantined, Table
from unfreeze.data.sequences import origins
from unfreeze.data.sources._header import has_header
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, is_table, suffix_of
from unfreeze.data.sources._text import read_lines, undecodable
from unfreeze.data.stored import BLOCK, Gathered, gathered
from unfreeze.errors import DataError

_SAMPLE = 200
_NO_DELIMITER = "\x1f"


@dataclass(frozen=True)
class _Record:
    """One row: its first line (from 1), and its fields or the reason why there are none."""

    line: int
    fields: list[str]
    problem: str = ""


def read(path: Path, options: ReadOptions) -> Reading:
    """Rows of the right width; others are quarantined with their line."""
    found, findings = read_lines(path, options.encoding)
    lines = gathered(found)
    delimiter = _sniff(lines, "\t" if suffix_of(path) in (".tsv", ".tab") else ",")
    literal = _quotes_are_literal(lines, delimiter)
    sample = [record.fields for record in _records(lines[:_SAMPLE], delimiter, literal, None) if record.fields]
    if not sample:
        raise DataError(f"File '{path}' has no rows.")
    header = has_header(sample)
    if header:
        names, more = _names(sample[0], path)
        findings += more
    else:
        names = [f"column {i + 1}" for i in range(len(sample[0]))]
        shown = ", ".join(cell[:20] for cell in sample[0])
        findings.append(
            Finding(
                "no_header",
                "warning",
                f"{path.name} has no header (its first row is data: {shown}); columns are"
                " called 'column 1', 'column 2', …",
            )
        )
    return _collect(path, lines, delimiter, literal, names, header, findings)


def _collect(
    path: Path,
    lines: Sequence[str],
    delimiter: str,
    literal: bool,
    names: list[str],
    header: bool,
    findings: list[Finding],
) -> Reading:
    table, rows, numbers = Gathered(names), list[list[str]](), array("q")
    bad: list[Quarantined] = []
    records = _records(lines, delimiter, literal, len(names))
    if header:
        next(records)
    for record in records:
        problem = record.problem or _problem(record.fields, len(names))
        if problem:
            where = f"{path.name}, line {record.line}"
            bad.append(Quarantined(where, problem, dict(zip(names, map(_printable, record.fields), strict=False))))
        else:
            rows.append(record.fields[: len(names)])
            numbers.append(record.line)
            if len(rows) == BLOCK:
                _add(table, names, rows)
    _add(table, names, rows)
    if bad:
        first = tuple(f"{row.origin}: {row.reason}" for row in bad[:3])
        findings.append(
            Finding("bad_rows", "warning", f"{len(bad)} rows of {path.name} cannot be read.", len(bad), first)
        )
    if not numbers and not bad:
        raise DataError(f"File '{path}' has a header ({', '.join(name[:30] for name in names[:6])}) but no rows.")
    origin = origins(f"{path.name}, line", numbers)
    return Reading(Table(table.columns(), origin, root=path.parent), bad, findings)


def _add(table: Gathered, names: list[str], rows: list[list[str]]) -> None:
    """Move rows to the table."""
    if rows:
        table.add({name: [row[i] for row in rows] for i, name in enumerate(names)}, len(rows))
        rows.clear()


def _problem(fields: list[str], width: int) -> str:
    if len(fields) < width or any(fields[width:]):
        return f"{len(fields)} fields where the header has {width}"
    if any("\0" in field for field in fields):
        return "contains NUL bytes"
    if any(undecodable(field) for field in fields):
        return "contains bytes that do not fit the file's encoding"
    return ""


def _records(lines: Sequence[str], delimiter: str, literal: bool, width: int | None) -> Iterator[_Record]:
    """Rows with their line. After a row that an unclosed quote made too long, reading goes on at the very next line."""
    quoting: Literal[0, 3] = csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL
    position, count = 0, len(lines)

    def feed() -> Iterator[str]:
        nonlocal position
        while position < count:
            position += 1
            yield lines[position - 1]

    reader = csv.reader(feed(), delimiter=delimiter, quoting=quoting, strict=True)
    with _wide_fields():
        while position < count:
            start = position
            try:
                fields, broken = next(reader, []), ""
            except csv.Error as error:
                fields, broken = [], str(error)
            spilled = position > start + 1 and width is not None and len(fields) != width
            if broken or spilled:
                position = start + 1
                reader = csv.reader(feed(), delimiter=delimiter, quoting=quoting, strict=True)
                fields = next(csv.reader([lines[start].rstrip("\r\n")], delimiter=delimiter, quoting=quoting), [])
                broken = "" if len(fields) == width else broken or "a quote is opened and not closed"
            if fields:
                yield _Record(start + 1, fields, broken)


def _sniff(lines: Sequence[str], usual: str) -> str:
    """The separator that cuts most of the first rows into the same number (above one) of fields."""
    best, best_score = "", 0.0
    for delimiter in dict.fromkeys((usual, ",", "\t", ";", "|")):
        found = [len(r.fields) for r in _records(lines[:_SAMPLE], delimiter, False, None) if r.fields]
        if found[:1] == [1]:
            continue  # the first row says how many columns there are
        widths = Counter(found)
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        score = count / max(1, widths.total())
        if width > 1 and score > best_score + (0.1 if best else 0.0):
            best, best_score = delimiter, score
    if best_score >= 0.5:
        return best
    return usual if lines and usual in lines[0] else _NO_DELIMITER


def _quotes_are_literal(lines: Sequence[str], delimiter: str) -> bool:
    """Whether quotes are plain characters: each line is a row if they mean nothing, and they break rows if they do."""
    width = lines[0].count(delimiter) + 1 if lines else 0
    odd = fit = 0
    for line in lines:
        fields = line.rstrip("\r\n").split(delimiter)
        fit += len(fields) == width or line.isspace()
        odd += any(_ill_quoted(field) for field in fields)
    return odd > 0 and fit >= 0.99 * len(lines) and _quoting_breaks(lines, delimiter, width)


def _quoting_breaks(lines: Sequence[str], delimiter: str, width: int) -> bool:
    with _wide_fields():
        try:
            return any(row and len(row) != width for row in csv.reader(lines, delimiter=delimiter, strict=True))
        except csv.Error:
            return True


@contextmanager
def _wide_fields() -> Iterator[None]:
    """Lift the csv module's limit of 128 KiB to a field, which is global, for as long as a file is read."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _ill_quoted(field: str) -> bool:
    if not field.startswith('"'):
        return False
    return len(field) < 2 or not field.endswith('"') or '"' in field[1:-1].replace('""', "")


def _names(cells: list[str], path: Path) -> tuple[list[str], list[Finding]]:
    """Column names, stripped; empty ones numbered, repeated ones told apart."""
    names: list[str] = []
    repeated: list[str] = []
    for i, cell in enumerate(cells):
        name = _printable(cell).strip() or f"column {i + 1}"
        if name in names:
            repeated.append(name)
            name = f"{name} ({names.count(name) + 1 + sum(n.startswith(name + ' (') for n in names)})"
        names.append(name)
    while len(names) > 1 and names[-1] == f"column {len(names)}" and len(cells) > 2:
        names.pop()
    notes = [
        Finding("repeated_column", "warning", f"{path.name} has the column '{name}' more than once.")
        for name in repeated
    ]
    return names, notes


def _printable(cell: str) -> str:
    return cell.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


SOURCE = Source("comma-, tab-, semicolon- or bar-separated values", is_table(".csv", ".tsv", ".tab"), read)
