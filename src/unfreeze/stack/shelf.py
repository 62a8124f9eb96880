"""Kept features on disk: a folder per entry that is whole or not there. Imports no torch, so listing answers at once.

An entry is written into a temporary folder beside the others, flushed to the disk and renamed, so that several
processes may read, write and remove at once. Whoever comes second with the same key throws its own copy away: it
holds the same. What a killed process left behind goes when nobody has written to it for an hour.

Each file's size and sha256 stand in the entry's description and are checked when it is opened. Of files above 64 MB
only blocks spread over them are hashed: what happens to whole files (cut short, never flushed before a power cut,
overwritten) is found by these, and reading gigabytes would cost what is to be saved.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unfreeze.stack.budget import to_leave

FORMAT = f"1 {sys.byteorder}"
DESCRIPTION = "entry.json"
TEMPORARY = ".part-"
STALE_SECONDS = 3600

WHOLE_BYTES = 64 * 1024**2
BLOCKS, BLOCK_BYTES = 256, 64 * 1024


class Damaged(Exception):
    """An entry that is not what was written; the message says where."""


@dataclass(frozen=True)
class Entry:
    """What is known of an entry without opening its tables; times are seconds since 1970."""

    key: str
    folder: Path
    bytes: int
    rows: int | None
    description: Mapping[str, Any]
    made: str
    used: float


def cache_folder() -> Path:
    """Where features are kept: $UNFREEZE_CACHE, else unfreeze/features in $XDG_CACHE_HOME or in ~/.cache."""
    own = os.environ.get("UNFREEZE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "unfreeze" / "features"


@dataclass(frozen=True)
class Shelf:
    """The entries in one folder."""

    folder: Path

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first; damaged ones have no description."""
        found = [entry for folder in self._folders() if (entry := _entry(folder)) is not None]
        return sorted(found, key=lambda entry: entry.used)

    def open(self, key: str) -> tuple[Path, dict[str, Any]] | None:
        """The folder and the checked document of an entry; None if there is none.

        Raises
        ------
        Damaged
            If its files are not those that were written.
        """
        folder = self.folder / name_of(key)
        if not self.holds(key):
            return None
        return folder, _checked(folder, key)

    def holds(self, key: str) -> bool:
        """Whether there is such an entry, whole or damaged."""
        return (self.folder / name_of(key)).is_dir()

    def draft(self) -> Path:
        """A new temporary folder, which only its owner can read: what features tell of the data is private."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sweep()
        return Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder))

    def publish(self, draft: Path, key: str, document: Mapping[str, Any]) -> None:
        """Make an entry of a draft, in one step; where another process was quicker, its entry stays."""
        files = {path.name: {"bytes": path.stat().st_size, "sha256": digest(path)} for path in sorted(draft.iterdir())}
        made = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {"format": FORMAT, "key": key, "made": made, **document, "files": files}
        with (draft / DESCRIPTION).open("x", encoding="utf-8") as file:
            json.dump(whole, file, indent=1, default=str)
            file.flush()
            os.fsync(file.fileno())
        try:
            draft.rename(self.folder / name_of(key))
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            if not self.holds(key):
                raise

    def touch(self, key: str) -> None:
        """The entry was used now."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / name_of(key) / DESCRIPTION)

    def remove(self, key: str) -> None:
        """Forget an entry; it disappears in one step, and for whoever has it mapped it stays."""
        grave = self.folder / f"{TEMPORARY}{secrets.token_hex(8)}"
        with contextlib.suppress(OSError):
            (self.folder / name_of(key)).rename(grave)
            shutil.rmtree(grave, ignore_errors=True)

    def make_room(self, needed: int, allowed: int, in_use: Collection[str] = ()) -> bool:
        """Whether so many bytes fit among the entries; the least recently used ones are removed for it."""
        stay = {name_of(key) for key in in_use}
        leaving = to_leave([(entry.key, entry.bytes) for entry in self.entries()], needed, allowed, stay)
        for key in leaving or ():
            self.remove(key)
        return leaving is not None

    @property
    def bytes(self) -> int:
        """What all entries take."""
        return sum(entry.bytes for entry in self.entries())

    def sweep(self, older: float = STALE_SECONDS) -> None:
        """Remove temporary folders to which nobody has written for so many seconds."""
        with contextlib.suppress(OSError):
            for folder in self.folder.glob(f"{TEMPORARY}*"):
                if _last_write(folder) < time.time() - older:
                    shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> Iterator[Path]:
        """Folders that are entries by their name: nothing else in a folder that somebody named is ours to remove."""
        with contextlib.suppress(OSError):
            yield from (path for path in self.folder.iterdir() if re.fullmatch(r"[0-9a-f]{64}", path.name))


def name_of(key: str) -> str:
    """The key as a folder's name: itself if it is a sha256, else its own."""
    return key if re.fullmatch(r"[0-9a-f]{64}", key) else hashlib.sha256(key.encode()).hexdigest()


def digest(path: Path) -> str:
    """sha256 of a file's content, or of blocks spread evenly over it when it is large."""
    size = path.stat().st_size
    found = hashlib.sha256()
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        for number in range(BLOCKS):
            file.seek(number * (size - BLOCK_BYTES) // (BLOCKS - 1))
            found.update(file.read(BLOCK_BYTES))
    return found.hexdigest()


def _document(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document


def _checked(folder: Path, key: str) -> dict[str, Any]:
    try:
        document = _document(folder)
        if document["format"] != FORMAT:
            raise Damaged(f"format {document['format']} instead of {FORMAT}")
        if document["key"] != key:
            raise Damaged("it belongs to another key")
        for name, written in document["files"].items():
            path = folder / Path(name).name
            if path.stat().st_size != written["bytes"] or digest(path) != written["sha256"]:
                raise Damaged(f"{name} is not as it was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(str(error) or type(error).__name__) from error
    return document


def _entry(folder: Path) -> Entry | None:
    try:
        size = sum(path.stat().st_size for path in folder.iterdir())
        used = folder.stat().st_mtime
    except OSError:
        return None  # removed meanwhile
    try:
        used = (folder / DESCRIPTION).stat().st_mtime
        document = _document(folder)
        rows, described = document.get("rows"), document.get("description")
    except (OSError, ValueError):
        document, rows, described = {}, None, None
    return Entry(
        folder.name, folder, size, rows if isinstance(rows, int) else None,
        described if isinstance(described, Mapping) else {}, str(document.get("made", "")), used,
    )  # fmt: skip


def _last_write(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)
