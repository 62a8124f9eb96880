"""Images in folders named after their class, with or without train, validation and test folders above."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding, ImageRef, Quarantined, SplitName, Table
from unfreeze.data.sources._reading import (
    IMAGE_SUFFIXES,
    Reading,
    ReadOptions,
    Source,
    is_table,
    split_name,
    stem_of,
    suffix_of,
)
from unfreeze.errors import DataError
from unfreeze.progress import counted

_FILE_COLUMNS = ("file_name", "filename", "file", "image", "path", "image_path")


def read(folder: Path, options: ReadOptions) -> Reading:
    """One row per image: the file, its class (the folder's name) and, where folders say so, its split."""
    root = folder.resolve()
    refs: list[ImageRef] = []
    labels: list[str] = []
    splits: list[SplitName | None] = []
    origin: list[str] = []
    quarantine: list[Quarantined] = []
    others: list[str] = []
    for path, split, label in _walk(folder):
        where = str(path.relative_to(folder))
        if not _inside(path, root):
            quarantine.append(Quarantined(where, "a link that leaves the data folder", {"image": where}))
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            others.append(where)
        elif not label:
            quarantine.append(Quarantined(where, "lies in no class folder", {"image": where}))
        else:
            refs.append(ImageRef(path=path))
            labels.append(label)
            splits.append(split)
            origin.append(where)
    if not refs:
        raise DataError(f"Folder '{folder}' has no images in class folders. It holds {_what_else(others, quarantine)}.")
    table = Table({"image": list(refs), "label": list(labels)}, origin, root=folder)
    if any(splits):
        table.split = [split or "train" for split in splits]
    findings = []
    if others:
        text = f"{len(others)} files are no images and were not used."
        findings.append(Finding("ignored_files", "info", text, len(others), tuple(others[:3])))
    for name in _metadata_files(folder):
        _join(table, name, options, findings)
    return Reading(table, quarantine, findings)


def _what_else(others: Sequence[str], quarantine: Sequence[Quarantined]) -> str:
    """In words, what a folder holds that is of no use."""
    reasons = Counter(row.reason for row in quarantine)
    first = {row.reason: row.origin for row in reversed(quarantine)}
    put_aside = [f"{counted(count, 'file')} put aside ({why}: {first[why]})" for why, count in reasons.items()]
    return ", ".join([counted(len(others), "other file"), *put_aside])


def _walk(folder: Path) -> Iterator[tuple[Path, SplitName | None, str]]:
    """Files with their split and class, in order; hidden files and folders are passed over."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in list(folders):
            if Path(place, name).is_symlink():
                yield Path(place, name), None, ""
        parts = Path(place).relative_to(folder).parts
        split = split_name(parts[0]) if parts else None
        label = "/".join(parts[1:] if split else parts)
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(place, name), split, label


def _inside(path: Path, root: Path) -> bool:
    return not path.is_symlink() or path.resolve().is_relative_to(root)


def holds_class_folders(data: object) -> bool:
    """Whether a folder has images below its top level (or below its split folders)."""
    if not isinstance(data, Path) or not data.is_dir():
        return False
    return any(label and path.suffix.lower() in IMAGE_SUFFIXES for path, _, label in _walk(data))


def _metadata_files(folder: Path) -> list[Path]:
    claims = is_table(".csv", ".tsv", ".jsonl")
    return [path for path in sorted(folder.iterdir()) if claims(path) and stem_of(path) == "metadata"]


def _join(table: Table, path: Path, options: ReadOptions, findings: list[Finding]) -> None:
    """Add the columns of a metadata file whose rows name the images (such as the patient of each)."""
    from unfreeze.data.sources import csv, jsonl

    extra = (jsonl if suffix_of(path) == ".jsonl" else csv).read(path, options).table
    key = next((name for name in _FILE_COLUMNS if name in extra.columns), None)
    if key is None:
        return
    rows = {str(name): i for i, name in enumerate(extra.columns[key])}
    found = [rows.get(Path(where).as_posix()) for where in table.origin]
    if not any(row is not None for row in found):
        return
    for name, values in extra.columns.items():
        if name not in table.columns and name != key:
            column: list[Any] = [None if row is None else values[row] for row in found]
            table.columns[name] = column
    count = sum(row is not None for row in found)
    findings.append(Finding("metadata", "info", f"{path.name} gives further columns for {count} images.", count))


SOURCE = Source("images in class folders", holds_class_folders, read)
