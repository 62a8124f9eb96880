"""Suspected label errors as a table for review, and a reviewed table applied: its rows are left out.

Rows are known again by an identifier over origin, content and target, so that a table is never applied to data that it
was not made from. Splits are drawn before suspects are left out: the rows that are held back stay the same ones.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unfreeze.data.duplicates import digest
from unfreeze.data.manifest import Input, SplitName, Table, Target
from unfreeze.data.rows import Log, Rows, settle
from unfreeze.data.sources import ReadOptions, read_source
from unfreeze.data.spreadsheet import harmless, undone
from unfreeze.data.values import as_text
from unfreeze.errors import DataError, nearest
from unfreeze.recipe import DataRecipe

COLUMNS = ("row", "origin", "split", "given", "suggested", "score", "content", "keep")
NEEDED = ("row", "origin", "given", "keep")
YES = frozenset(("yes", "y", "true", "1", "1.0", "keep", "x"))
NO = frozenset(("no", "n", "false", "0", "0.0", "drop"))
LONGEST = 1000
"""Characters of a text that the table shows."""


@dataclass(frozen=True)
class Suspect:
    """A row whose label may be wrong; `score` is the label's quality between 0 and 1."""

    row: str
    origin: str
    split: str
    given: str
    suggested: str
    score: float
    content: str


def row_key(origin: str, item: Input, target: Target, content: str = "") -> str:
    """What a row is known by: it changes with origin, content and target.

    Parameters
    ----------
    content : str
        The input's digest where it is known; of images it has to be that of the file.
    """
    key = content or digest(item)
    return "r" + hashlib.sha256(f"{origin}\0{key}\0{target!r}".encode("utf-8", "replace")).hexdigest()[:16]


def in_words(target: Target) -> str:
    """A target as the table shows it; several labels with a bar between them."""
    return "|".join(target) if isinstance(target, tuple) else as_text(target)


def table_of(suspects: Iterable[Suspect]) -> str:
    """The table as CSV with an empty column `keep`; what a spreadsheet would run as a formula is made harmless."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)  # with its own line ends, since it quotes no others
    writer.writerow(COLUMNS)
    for one in suspects:
        line = " ".join(one.content.split())
        shown = line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
        cells = (one.row, one.origin, one.split, one.given, one.suggested, f"{one.score:.4f}", shown, "")
        writer.writerow([harmless(cell.replace("\0", "�")) for cell in cells])
    return file.getvalue()


def without_suspects(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Leave out what a reviewed table names (data.drop_suspects).

    A row of training is left out unless `keep` says yes. A row of validation or test only where `keep` says no: to
    leave out unseen what a model got wrong there would flatter it.

    Raises
    ------
    DataError
        If the table cannot be read, `keep` says something else, or a row is not in the data as the table has it.
    """
    if recipe.drop_suspects is None:
        return rows
    path = Path(recipe.drop_suspects).expanduser()
    table = _table(path)
    named = {as_text(value).strip() for value in table.columns["row"]}
    keys = (
        row_key(origin, item, target, content.tobytes().hex()) if item is not None and target is not None else ""
        for origin, item, target, content in zip(rows.origin, rows.inputs, rows.targets, rows.digests, strict=True)
    )
    places = {key: i for i, key in enumerate(keys) if key and key in named}
    reasons: dict[int, str] = {}
    unreviewed, gone, problems = 0, 0, []
    known = {undone(as_text(value)) for value in table.columns["origin"]}.intersection(log.table.origin)
    for number in range(len(table)):
        key, said = as_text(table.columns["row"][number]).strip(), _keep(table, number)
        place = places.get(key)
        if place is None:
            problem = _mismatch(table, number, rows, known)
            gone += not problem
            problems += [problem] if problem else []
        elif said is False or (said is None and rows.splits[place] in (None, "train")):
            reasons[place] = _reason(table, number)
        else:
            unreviewed += said is None
    if problems:
        more = f" And {len(problems) - 3} more rows." if len(problems) > 3 else ""
        raise DataError(
            f"data.drop_suspects: '{path}' was not made from these data: {' '.join(problems[:3])}{more} Give the table "
            "of a run on the same data, or make a new one."
        )
    if unreviewed:
        text = f"{unreviewed} suspects of validation and test stay, since `keep` is empty: there only 'no' leaves out."
        log.note("suspects_kept", "info", text, unreviewed)
    if gone:
        text = f"{gone} suspects are left out already, for other reasons."
        log.note("suspects_gone", "info", text, gone)
    return settle(rows, reasons, "drop", "drop_suspects", "suspects", "rows are suspected label errors", log)


def _table(path: Path) -> Table:
    try:
        table = read_source(path, ReadOptions()).table
    except DataError as error:
        raise DataError(f"data.drop_suspects: {error}") from None
    lacking = next((name for name in NEEDED if name not in table.columns), None)
    if lacking is not None:
        raise DataError(
            f"data.drop_suspects: '{path}' has no column '{lacking}'. {nearest(lacking, table.columns)} Expected a "
            "reviewed evidence/labels.csv of an earlier run."
        )
    return table


def _keep(table: Table, number: int) -> bool | None:
    """What a person decided: True, False, or None where nothing stands."""
    word = as_text(table.columns["keep"][number]).strip()
    if not word:
        return None
    if word.lower() not in YES | NO:
        raise DataError(
            f"data.drop_suspects: {table.origin[number]}: expected 'yes', 'no' or nothing in column 'keep'; found "
            f"'{word[:40]}'."
        )
    return word.lower() in YES


def _mismatch(table: Table, number: int, rows: Rows, known: set[str]) -> str:
    """Why a row of the table is not among the rows; "" where cleaning has left it out already."""
    origin = undone(as_text(table.columns["origin"][number]))
    given = undone(as_text(table.columns["given"][number]))
    where = f"{table.origin[number]} names '{origin}' with target '{given[:60]}'"
    if origin not in known:
        return f"{where}, and there is no such row."
    place = next((i for i, name in enumerate(rows.origin) if name == origin), None)
    if place is None:
        return ""
    target = rows.targets[place]
    found = in_words(target) if target is not None else ""
    differs = f"the target there is '{found[:60]}'" if found != given else "the content there is another"
    return f"{where}, and {differs}."


def _reason(table: Table, number: int) -> str:
    suggested = as_text(table.columns.get("suggested", [""] * len(table))[number])
    return "suspected label error" + (f" (suggested: {undone(suggested)[:60]})" if suggested else "")


def suspect_of(
    origin: str,
    split: SplitName,
    item: Input,
    target: Target,
    *,
    suggested: Target,
    score: float,
    content: str,
    key: str = "",
) -> Suspect:
    """A row of the table; `content` is the text, or the image's path."""
    return Suspect(
        row_key(origin, item, target, key), origin, split, in_words(target), in_words(suggested), score, content
    )


def contents(items: Sequence[Input]) -> list[str]:
    """What a person can look up of each input: its text, or the image's path."""
    return [_content(item) for item in items]


def _content(item: Input) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, tuple):
        return " | ".join(item)
    return str(item.path) if item.path else f"image of {len(item.data or b'')} bytes"
