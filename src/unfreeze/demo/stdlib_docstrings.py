"""Text for the demonstration: docstrings of Python's own standard library, labelled by section of its documentation.

The source files are parsed, never imported, so nothing of the library runs. A row is the first paragraph of a
docstring; its label is the section of the library reference that documents the module; its group is the module, so
that a split by group never tests on a module that was trained on. The table depends on the interpreter's version
only. Sections that hold few docstrings (most of their modules are written in C) are left out.
"""

from __future__ import annotations

import ast
import csv
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

SECTIONS: dict[str, str] = {
    "Data types": (
        "datetime _pydatetime zoneinfo calendar collections _collections_abc heapq bisect weakref _weakrefset types "
        "copy pprint reprlib enum graphlib"
    ),
    "Numeric and mathematical": "numbers _pydecimal fractions random statistics",
    "File and directory access": (
        "pathlib posixpath ntpath genericpath fileinput filecmp tempfile glob fnmatch linecache shutil stat"
    ),
    "Compression and archiving": "gzip bz2 lzma _compression compression zipfile tarfile",
    "Operating system services": "os _pyio argparse optparse getopt logging getpass curses platform ctypes",
    "Concurrent execution": "threading _threading_local multiprocessing concurrent subprocess sched queue",
    "Networking": "asyncio socket ssl selectors",
    "Internet data": "email json mailbox mimetypes base64 quopri",
    "Internet protocols": (
        "webbrowser wsgiref urllib http ftplib poplib imaplib smtplib uuid socketserver xmlrpc ipaddress"
    ),
    "Structured markup": "html xml _markupbase",
    "Graphical interfaces": "tkinter turtle idlelib",
    "Development tools": "typing pydoc doctest unittest",
}
"""Section of the library reference to the modules and packages that it documents."""

CAP = 160
"""Most rows of one section: keeps the classes about even and the demonstration short."""

FEWEST_WORDS = 4

TESTS = {"test", "tests", "idle_test"}

COLUMNS = ("text", "label", "module")


def rows() -> dict[str, list[str]]:
    """The table as columns `text`, `label` (the section) and `module`, the same for every call."""
    sections = {label: list(_section(names.split())) for label, names in SECTIONS.items()}
    homes: dict[str, set[str]] = {}
    for label, pairs in sections.items():
        for text, _ in pairs:
            homes.setdefault(text, set()).add(label)
    table: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for label, pairs in sections.items():
        certain = {text: module for text, module in pairs if len(homes[text]) == 1}
        for text, module in _spread(certain)[:CAP]:
            for name, value in zip(COLUMNS, (text, label, module), strict=True):
                table[name].append(value)
    return table


def write_csv(path: Path) -> Path:
    """Write the table to a CSV file in UTF-8 and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = rows()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*(table[name] for name in COLUMNS), strict=True))
    return path


def _section(names: list[str]) -> Iterator[tuple[str, str]]:
    """First paragraphs of the docstrings in these modules, each with its module's dotted name."""
    root = Path(sysconfig.get_path("stdlib"))
    for name in names:
        for file in [root / f"{name}.py", *sorted((root / name).rglob("*.py"))]:
            parts = file.relative_to(root).with_suffix("").parts
            if file.is_file() and not TESTS & {*parts}:
                module = ".".join(part for part in parts if part != "__init__")
                yield from ((text, module) for text in _paragraphs(file))


def _paragraphs(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = (ast.get_docstring(node) or "").split("\n\n")[0]
            words = first.split()
            if len(words) >= FEWEST_WORDS:
                yield " ".join(words)


def _spread(pairs: dict[str, str]) -> list[tuple[str, str]]:
    """The pairs in an order that takes one of each module in turn, so that a cap leaves every module some rows."""
    modules: dict[str, list[str]] = {}
    for text in sorted(pairs, key=lambda text: sha256(text.encode()).digest()):
        modules.setdefault(pairs[text], []).append(text)
    turns = zip_longest(*(modules[name] for name in sorted(modules)))
    return [(text, pairs[text]) for turn in turns for text in turn if text is not None]
