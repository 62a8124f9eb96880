"""`unfreeze cache`: what is kept of frozen layers for later runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, note, show
from unfreeze.cli.tables import table, words
from unfreeze.errors import UserError

if TYPE_CHECKING:
    from unfreeze.stack.shelf import Entry, Shelf

KEYS = Annotated[
    list[str] | None, typer.Argument(metavar="KEY", help="beginnings of keys; none: all", show_default=False)
]
CLEAR = Annotated[bool, typer.Option("--clear", help="remove them")]

SHOWN = 12
"""Characters of a key that are shown: enough to name it."""


def cache(keys: KEYS = None, clear: CLEAR = False, json: JSON = False) -> None:
    """List what frozen layers computed and is kept on disk, or remove it with --clear.

    The folder is $UNFREEZE_CACHE, or unfreeze/features in $XDG_CACHE_HOME or ~/.cache.
    """
    from unfreeze.stack.shelf import Shelf, cache_folder

    shelf = Shelf(cache_folder())
    entries = _chosen(shelf.entries(), keys or [])
    if clear:
        _clear(shelf, entries, everything=not keys)
    document = _document(shelf, entries, clear)
    if json:
        emit(document)
    else:
        show(*_parts(entries, document, clear))


def _chosen(entries: list[Entry], keys: list[str]) -> list[Entry]:
    """Entries whose key begins with one of those, the most recently used first."""
    unknown = [key for key in keys if not key or not any(entry.key.startswith(key) for entry in entries)]
    if unknown:
        raise UserError(f"No kept features have a key that begins with '{unknown[0]}'. `unfreeze cache` lists them.")
    return [entry for entry in reversed(entries) if not keys or entry.key.startswith(tuple(keys))]


def _clear(shelf: Shelf, entries: list[Entry], everything: bool) -> None:
    for entry in entries:
        shelf.remove(entry.key)
        if shelf.holds(entry.key):
            note(f"'{entry.folder}' could not be removed.")
    if everything:
        shelf.sweep(older=0)  # a run that is just writing goes on without sharing


def _document(shelf: Shelf, entries: list[Entry], cleared: bool) -> dict[str, Any]:
    from unfreeze.machine import free_disk
    from unfreeze.stack.budget import Budget

    held = shelf.bytes
    return {
        "folder": shelf.folder,
        "cleared": cleared,
        "bytes": sum(entry.bytes for entry in entries),
        "default_budget": Budget().disk(free_disk(shelf.folder) + held),
        "entries": [
            {
                "key": entry.key,
                **{name: entry.description.get(name) for name in ("data", "split", "model", "frontier")},
                "rows": entry.rows,
                "bytes": entry.bytes,
                "made": entry.made,
                "used": datetime.fromtimestamp(entry.used).astimezone().isoformat(timespec="seconds"),
            }
            for entry in entries
        ],
    }


def _parts(entries: list[Entry], document: dict[str, Any], cleared: bool) -> list[Any]:
    from unfreeze.progress import counted
    from unfreeze.stack.budget import in_words

    total = in_words(document["bytes"])
    if cleared:
        return [words(f"Removed {counted(len(entries), 'set')} of features, {total}.")]
    rows = [
        [
            words(entry.key[:SHOWN], "bold"),
            _what(entry),
            f"{entry.rows:,}" if entry.rows is not None else "",
            entry.description.get("frontier") or "",
            in_words(entry.bytes),
            f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}",
        ]
        for entry in entries
    ]
    parts: list[Any] = []
    if entries:
        headers = ["key", "what", "rows", "frontier", "size", "last used"]
        parts.append(table("What frozen layers computed", headers, rows, right=[2, 4]))
    allowed = in_words(document["default_budget"])
    parts.append(words(f"{total} in {document['folder']}"))
    parts.append(words(f"Without --cache-budget a run keeps up to {allowed} there, a tenth of the free disk."))
    return parts


def _what(entry: Entry) -> str:
    """ "reviews.csv, train: all-MiniLM-L6-v2"."""
    source = ", ".join(str(entry.description[name]) for name in ("data", "split") if entry.description.get(name))
    model = entry.description.get("model") or ""
    return f"{source}: {model}" if source and model else f"{source}{model}" or "unknown"
