"""One kind of wrong input, and what brings it about."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from odd_things import Setup, everything, photos, rows, table, text

SHORT = (
    "--method head --epochs 1 --batch-size 8 --set evaluation.gate=inline --set evaluation.bootstrap=0 "
    "--set evaluation.report=false --quiet"
)
R = rows()
HELLO = [("a\0b", "good")]


@dataclass(frozen=True)
class Case:
    """What is odd, how it comes about, the command, and what must be said (all of it) with which exit code.

    `said` is looked for on standard error where the command fails, and in all that is written where it succeeds.
    """

    what: str
    setup: Setup
    command: str
    said: Sequence[str]
    code: int = 2


def fit_words(command: str, things: Mapping[str, Path]) -> list[str]:
    """A command of the table as words."""
    command = command.replace("TEXT", f"--model {{text}} {SHORT}").replace("IMAGE", f"--model {{image}} {SHORT}")
    return shlex.split(command.format(**things))


def nothing() -> None:
    """No file at all."""


def folder(name: str) -> Setup:
    return lambda: Path(name).mkdir(parents=True)


def file(name: str, content: bytes) -> Setup:
    def write() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)

    return write


def link(name: str, to: str) -> Setup:
    return lambda: Path(name).symlink_to(to)


def recipe(content: str) -> Setup:
    return everything(table(), text("job.yaml", content))


def old_run(*damage: Setup) -> Setup:
    """A copy of the finished run as `old`, which reads `a.csv` beside it; `things.txt` names where it is."""

    def copy() -> None:
        shutil.copytree(Path("things.txt").read_text(), "old")
        recipe = Path("old/recipe.resolved.yaml")
        here = f"path: {json.dumps(str(Path('a.csv').resolve()))}"
        recipe.write_text(re.sub(r"path: .*a\.csv\"?", lambda _: here, recipe.read_text(), count=1))

    return everything(table(), copy, *damage)


def without(*names: str) -> Setup:
    return lambda: [Path("old", name).unlink() for name in names]


def labelled(label: str | Sequence[str], count: int = 24, header: str = "text,label", name: str = "a.csv") -> Setup:
    """A table whose labels are the given one, or those in turn."""
    labels = [label] if isinstance(label, str) else label
    return table(name, [(words, labels[i % len(labels)]) for i, (words, _) in enumerate(rows(count))], header)


def third(header: str, values: Sequence[str], count: int = 24) -> Setup:
    """A table with a third column."""
    return table(lines=[(t, label, values[i % len(values)]) for i, (t, label) in enumerate(rows(count))], header=header)


P = photos()
PLAIN = table()
NAMED = [(f"photos/{c}/{i}.png", c) for c in ("cat", "dog") for i in range(10)]
OUTSIDE = [("../../etc/passwd", "cat"), ("/etc/passwd", "dog"), ("photos/../../x.png", "dog")]
HEAD = "data: a.csv\nmethod: head\n"
LAUGHS = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}' if i else 'ha'] * 9)}]\n" for i in range(7))
