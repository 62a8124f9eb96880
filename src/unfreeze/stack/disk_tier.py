"""Feature stores in the entries of a shelf: a description, the lengths of all samples, and a table per store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unfreeze.stack.features import FeatureStore
from unfreeze.stack.shelf import Damaged, Shelf
from unfreeze.stack.tables import FileSink, mapped, save

LENGTHS = "lengths.bin"


def table_name(number: int) -> str:
    """The file of a store's table."""
    return f"{number}.bin"


@dataclass
class Draft:
    """An entry that is being written, in a temporary folder.

    Every method raises OSError if the disk is full or cannot be written.
    """

    shelf: Shelf
    key: str
    stores: Sequence[FeatureStore]
    description: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.folder = self.shelf.draft()
        self.sinks: list[FileSink] = []

    def reserve(self) -> None:
        """Take the space of all tables, to be filled through `sinks`."""
        for number, store in enumerate(self.stores):
            store.in_memory = False
            self.sinks.append(FileSink(self.folder / table_name(number), store.table_shape))

    def save(self) -> None:
        """Write tables that are in memory."""
        for number, store in enumerate(self.stores):
            assert store.table is not None
            save(store.table, self.folder / table_name(number))

    def publish(self) -> None:
        """The tables are written: make an entry of them."""
        lengths = self.stores[0].lengths
        save(lengths.view(np.uint8), self.folder / LENGTHS)
        stores = [
            {"ragged": store.ragged, "dtype": str(store.dtype).removeprefix("torch."), "shape": list(store.shape)}
            for store in self.stores
        ]
        document = {"rows": len(lengths), "description": dict(self.description), "stores": stores}
        self.shelf.publish(self.folder, self.key, document)

    def discard(self) -> None:
        """Remove what was written and is no entry."""
        for sink in self.sinks:
            sink.abandon()
        shutil.rmtree(self.folder, ignore_errors=True)


def open_entry(shelf: Shelf, key: str, memory: int) -> list[FeatureStore] | None:
    """The stores of an entry, mapped; what fits into so many bytes of memory is read ahead. None if it is not there.

    Raises
    ------
    Damaged
        If its files are not those that were written, or not of this format.
    """
    try:
        found = shelf.open(key)
        return None if found is None else _stores(*found, memory)
    except (Damaged, OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as problem:
        if not shelf.holds(key):
            return None  # another process removed it meanwhile
        raise Damaged(str(problem)) from problem


def _stores(folder: Path, document: Mapping[str, Any], memory: int) -> list[FeatureStore]:
    lengths = np.fromfile(folder / LENGTHS, np.int64)
    if len(lengths) != document["rows"] or (lengths < 0).any():
        raise Damaged(f"{LENGTHS} does not fit the description")
    stores = [
        FeatureStore(bool(plain["ragged"]), _dtype(plain["dtype"]), tuple(plain["shape"]), lengths, in_memory=False)
        for plain in document["stores"]
    ]
    ahead = sum(store.bytes for store in stores) <= memory
    for number, store in enumerate(stores):
        path = folder / table_name(number)
        if path.stat().st_size != store.bytes:
            raise Damaged(f"{path.name} does not fit the description")
        store.table = mapped(path, store.table_shape, ahead=ahead)
    return stores


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise Damaged(f"'{name}' is no type of numbers")
    return found
