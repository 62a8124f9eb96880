"""Tables of bytes, of shape (parts, bytes of a part): filled in any order, in memory or in a file that is then mapped.

A file is written by plain writes and read through a mapping. Written through a mapping, a disk that fills up would end
the process; read by one, it takes no memory that somebody else could need.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = "NDArray[np.uint8]"

BLOCK = 64 * 1024**2
"""Bytes of a table in memory that are handed to a file at once."""


class Sink(Protocol):
    """A table that is being filled."""

    def write(self, start: int, parts: Bytes) -> None:
        """Put parts of shape (count, bytes of a part) in place, from part `start` on."""

    def close(self) -> Bytes:
        """All is in: the table, read-only."""


class MemorySink:
    """A table in memory."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._table = np.empty(shape, np.uint8)
        self._table[-1:] = 0

    def write(self, start: int, parts: Bytes) -> None:
        self._table[start : start + len(parts)] = parts

    def close(self) -> Bytes:
        self._table.flags.writeable = False
        return self._table


class FileSink:
    """A table in a file, whose space is taken at once so that a full disk is known before anything is computed.

    Raises
    ------
    OSError
        If the disk is full or cannot be written, here or later.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._file = path.open("x+b")
        try:
            _reserve(self._file.fileno(), shape[0] * shape[1])
        except OSError:
            self._file.close()
            raise

    def write(self, start: int, parts: Bytes) -> None:
        self._file.seek(start * self._shape[1])
        self._file.write(np.ascontiguousarray(parts).data)

    def close(self) -> Bytes:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
            return _mapped(self._file, self._shape, ahead=False)

    def abandon(self) -> None:
        """Close the file without a further word about a full disk."""
        with contextlib.suppress(OSError):
            self._file.close()


def _reserve(file: int, size: int) -> None:
    try:
        os.posix_fallocate(file, 0, size)
    except AttributeError:  # not on every system
        os.truncate(file, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        os.truncate(file, size)


def save(table: Bytes, path: Path) -> None:
    """Write a table from memory into a file, down to the disk."""
    with path.open("xb") as file:
        flat = np.ascontiguousarray(table).reshape(-1).data
        for start in range(0, len(flat), BLOCK):
            file.write(flat[start : start + BLOCK])
        file.flush()
        os.fsync(file.fileno())


def mapped(path: Path, shape: tuple[int, int], *, ahead: bool = False) -> Bytes:
    """The table in a file, mapped and read-only; it outlives the file's removal.

    Parameters
    ----------
    ahead : bool
        Let the system read all of it into memory now and in order: row by row at random that takes many times longer.
    """
    with path.open("rb") as file:
        return _mapped(file, shape, ahead)


def _mapped(file: BinaryIO, shape: tuple[int, int], ahead: bool) -> Bytes:
    memory = mmap.mmap(file.fileno(), shape[0] * shape[1], access=mmap.ACCESS_READ)
    if ahead and hasattr(mmap, "MADV_WILLNEED"):
        memory.madvise(mmap.MADV_WILLNEED)
    return np.frombuffer(memory, np.uint8).reshape(shape)
