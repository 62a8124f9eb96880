"""A folder of tables named after their split: train.csv, validation.tsv, test.parquet."""

from __future__ import annotations

from pathlib import Path

from unfreeze.data.manifest import SPLITS, SplitName
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, joined, split_name, stem_of, suffix_of
from unfreeze.errors import DataError


def read(folder: Path, options: ReadOptions) -> Reading:
    """The tables below each other, each with its split; a folder with one table only is that table."""
    from unfreeze.data.sources import read_source

    tables = _tables(folder)
    splits = {path: split for path in tables if (split := _split(path))}
    if not splits:
        return read_source(tables[0], options)
    if "train" not in splits.values():
        found = ", ".join(path.name for path in splits)
        raise DataError(f"Folder '{folder}' holds {found}, but no table named train.")
    order = sorted(splits.items(), key=lambda item: (SPLITS.index(item[1]), item[0]))
    return joined([(split, read_source(path, options)) for path, split in order])


def claims(data: object) -> bool:
    """Whether a folder holds tables named after splits, or exactly one table, and no images in class folders."""
    from unfreeze.data.sources.image_folder import holds_class_folders

    if not isinstance(data, Path) or not data.is_dir():
        return False
    tables = _tables(data)
    return (len(tables) == 1 or any(_split(path) for path in tables)) and not holds_class_folders(data)


def _tables(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_file() and suffix_of(p) and not p.name.startswith(".")]


def _split(path: Path) -> SplitName | None:
    """train.csv, train-00000-of-00002.parquet and train_1.csv are all train."""
    stem = stem_of(path).lower()
    return split_name(stem) or split_name(stem.split("-")[0]) or split_name(stem.rstrip("0123456789").rstrip("_"))


SOURCE = Source("a folder of tables named after their split", claims, read)
