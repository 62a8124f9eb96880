"""Rows on their way from a table to examples: what is left out is logged with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from unfreeze.data.images import ImageFacts
from unfreeze.data.manifest import Finding, Input, Quarantined, SplitName, Table, Target
from unfreeze.data.sequences import Array, picked
from unfreeze.data.values import plain
from unfreeze.errors import DataError, sentence


@dataclass(frozen=True)
class Rows:
    """Parallel sequences; `number` is the row of the table that each came from.

    `inputs` and `targets` hold None where the table has nothing, and `ill` the reason where a value cannot be used.
    `digests` (uint8 of shape (rows, 32)) and, of images, `facts` are filled when duplicates are looked for; rows with
    the same `kin` are (near) duplicates. Of texts that lie on disk a row takes some numbers here and nothing else.
    """

    inputs: Sequence[Input | None]
    targets: Sequence[Target | None]
    groups: Sequence[str | None]
    splits: Sequence[SplitName | None]
    origin: Sequence[str]
    number: Array
    facts: Sequence[ImageFacts] = ()
    digests: Array = field(default_factory=lambda: np.zeros((0, 32), np.uint8))
    kin: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.origin)

    def only(self, wanted: Collection[int] | Array) -> Rows:
        """The rows at these positions, in their present order."""
        keep = np.sort(np.fromiter(wanted, dtype=np.int64, count=len(wanted)))
        return Rows(**{f.name: picked(v, keep) if len(v := getattr(self, f.name)) else v for f in fields(self)})

    def with_(self, **sequences: Any) -> Rows:
        """The same rows with some sequences replaced."""
        return replace(self, **sequences)


@dataclass
class Log:
    """What was left out and what was noticed on the way."""

    table: Table
    quarantine: list[Quarantined] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def note(self, kind: str, severity: Any, message: str, count: int = 0, examples: tuple[str, ...] = ()) -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, severity, message, count, examples))

    def out(self, rows: Rows, reasons: Mapping[int, str]) -> Rows:
        """Quarantine the rows at these positions and return the others."""
        for i, reason in sorted(reasons.items()):
            values = {name: plain(column[int(rows.number[i])]) for name, column in self.table.columns.items()}
            self.quarantine.append(Quarantined(rows.origin[i], reason, values))
        stay = np.ones(len(rows), dtype=bool)
        stay[list(reasons)] = False
        return rows.only(np.flatnonzero(stay)) if reasons else rows

    def left_out(self) -> str:
        """A sentence, after a space, about the rows that were left out; "" if there are none."""
        if not self.quarantine:
            return ""
        first = self.quarantine[0]
        rows = "1 row was" if len(self.quarantine) == 1 else f"{len(self.quarantine):,} rows were"
        return f" {rows} left out; for instance {first.origin}: {sentence(first.reason)}"


def settle(rows: Rows, reasons: Mapping[int, str], policy: str, key: str, kind: str, what: str, log: Log) -> Rows:
    """Apply a policy to rows that are unfit: keep, drop or fail; either way it is a finding.

    Raises
    ------
    DataError
        With the policy "fail", naming the first rows.
    """
    if not reasons:
        return rows
    examples = tuple(f"{rows.origin[i]}: {reason}" for i, reason in sorted(reasons.items())[:3])
    message = _counted(len(reasons), what)
    if policy == "fail":
        raise DataError(f"{message}, and data.{key} is 'fail': {sentence('; '.join(examples))}")
    done = "kept" if policy == "keep" else "left out"
    log.note(kind, "warning", f"{message}: {done}.", len(reasons), examples)
    return rows if policy == "keep" else log.out(rows, reasons)


_SINGULAR = {"have": "has", "are": "is", "repeat": "repeats", "share": "shares"}


def _counted(count: int, what: str) -> str:
    """ "1 row has …", "2 rows have …"."""
    if count != 1:
        return f"{count:,} {what}"
    noun, verb, rest = what.split(" ", 2)
    return f"1 {noun.removesuffix('s')} {_SINGULAR.get(verb, verb)} {rest}"
