"""Columns that are filled block by block, and move to a memory-mapped file once they are large.

Blocks are record batches of Arrow. The file has no name (or none that outlives it): it is made in the folder for
temporary files (TMPDIR), and its space is free again when the last column is gone, however the process ends.
"""

from __future__ import annotations

import json
import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np

from unfreeze.data.sequences import Array, Lazy, below
from unfreeze.errors import DataError

LARGE = 8 * 2**20
"""Bytes of Python objects from which columns move to disk."""

BLOCK = 1024
"""Rows that are read and written together."""

_OBJECT = 56
"""Bytes that an object takes beside its content: those of a short text."""

_JSON = 0xFF
"""The byte before a value that is no text; no text begins with it in UTF-8."""

_ALIGNED = 64
"""Bytes to whose multiples Arrow wants its buffers to begin."""

T = TypeVar("T")


class Block(Lazy[Any]):
    """Values in a mapped file: texts, None, and whatever else JSON holds."""

    def __init__(self, content: Any) -> None:
        import pyarrow

        column = pyarrow.ipc.read_record_batch(content, _schema()).column(0)
        _, offsets, data = column.buffers()
        self._offsets = memoryview(offsets).cast("B").cast("q")
        self._data = memoryview(data or b"").cast("B")
        self._nulls = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        self._count = len(column)

    def __len__(self) -> int:
        return self._count

    def at(self, row: int) -> Any:
        """The value of a row."""
        start, end = self._offsets[row], self._offsets[row + 1]
        if start == end:
            return None if self._nulls is not None and self._nulls[row] else ""
        if self._data[start] == _JSON:
            return json.loads(bytes(self._data[start + 1 : end]))
        return str(self._data[start:end], "utf-8", "surrogatepass")


class _Place(NamedTuple):
    """Where a block lies in the file."""

    start: int
    end: int


class Gathered:
    """Columns to which rows are added in blocks: lists as long as they are small, else sequences on disk.

    What a block lacks of the columns is None. Blocks with values that JSON lacks (images, dates) stay in memory.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._counts: list[int] = []
        self._parts: dict[str, list[list[Any] | _Place]] = {name: [] for name in names}
        self._size, self._moved = 0, 0
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return sum(self._counts)

    def add(self, columns: Mapping[str, list[Any]], count: int) -> None:
        """Rows below those that are there.

        Raises
        ------
        DataError
            If the disk has no room for them.
        """
        for name in columns:
            if name not in self._parts:
                self._parts[name] = [[None] * rows for rows in self._counts]
        for name, parts in self._parts.items():
            values = columns.get(name)
            parts.append([None] * count if values is None else values)
        self._counts.append(count)
        if self._file is None:
            self._size += sum(_size(value) for values in columns.values() for value in values)
        if self._size > LARGE:
            self._move()

    def columns(self) -> dict[str, Sequence[Any]]:
        """The columns in the order of their first appearance; nothing can be added after it."""
        content = None if self._file is None else _mapped(self._file)
        return {name: _column(content, parts) for name, parts in self._parts.items()}

    def _move(self) -> None:
        """Write the blocks that came since the last time; from then on all that is left of them is their place."""
        self._file = self._file or _temporary(self)
        for parts in self._parts.values():
            for number in range(self._moved, len(parts)):
                part = parts[number]
                packed = _packed(part) if isinstance(part, list) else None
                if packed is not None:
                    parts[number] = _written(self._file, packed)
        self._moved = len(self._counts)


def gathered(values: Iterable[Any]) -> Sequence[Any]:
    """What an iterator gives: a list as long as it is small, else a sequence on disk."""
    made = Gathered(("values",))
    for part in blocks(values):
        made.add({"values": part}, len(part))
    return made.columns()["values"]


def blocks(values: Iterable[T]) -> Iterator[list[T]]:
    """Lists of the values that are read and written together."""
    rest = iter(values)
    while part := list(islice(rest, BLOCK)):
        yield part


def stacked(parts: Iterator[Array], shape: tuple[int, ...], kind: Any) -> Array:
    """Arrays below each other, of shape (rows, *shape): in memory as long as they are small, else in a mapped file."""
    waiting: list[Array] = [np.empty((0, *shape), kind)]
    size = 0
    for part in parts:
        waiting.append(part)
        size += part.nbytes
        if size > LARGE:
            break
    else:
        return np.concatenate(waiting)
    with tempfile.TemporaryFile() as file:
        _write_all(file, waiting)
        for part in parts:
            _write_all(file, [part])
        return np.frombuffer(_mapped(file), kind).reshape(-1, *shape)


def _temporary(owner: object) -> IO[bytes]:
    """A file that is closed, and gone, with its owner."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    weakref.finalize(owner, file.close)
    return file


def _write_all(file: IO[bytes], waiting: list[Array]) -> None:
    try:
        for part in waiting:
            file.write(np.ascontiguousarray(part).data)
    except OSError as error:
        raise room_lacks(error) from error


def room_lacks(error: OSError) -> DataError:
    """The error that a disk without room for temporary files is told by."""
    return DataError(
        f"A large table is kept in temporary files, and '{tempfile.gettempdir()}' cannot take them:"
        f" {error.strerror or error}. Name another folder for them with the environment variable TMPDIR."
    )


def _column(content: Any, parts: Sequence[list[Any] | _Place]) -> Sequence[Any]:
    if not parts:
        return []
    return below([part if isinstance(part, list) else Block(content[part.start : part.end]) for part in parts])


def _mapped(file: IO[bytes]) -> Any:
    """The file, which is closed, as a buffer whose pages the system reads, and drops again, as it sees fit."""
    import pyarrow

    file.flush()
    content = pyarrow.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if file.tell() else None
    file.close()  # the map keeps what it needs
    return content


def _written(file: IO[bytes], content: Any) -> _Place:
    try:
        start = file.tell()
        file.write(content)
        end = file.tell()
        file.write(bytes(-end % _ALIGNED))
    except OSError as error:
        raise room_lacks(error) from error
    return _Place(start, end)


def _packed(values: list[Any]) -> Any:
    """A block as Arrow writes it; None where it holds what JSON does not."""
    import pyarrow

    try:
        if all(value is None or type(value) is str for value in values):
            column = pyarrow.array(values, pyarrow.large_binary())
        else:
            column = _encoded(values)
    except UnicodeEncodeError:  # halves of characters
        column = _encoded(values)
    return None if column is None else pyarrow.record_batch([column], schema=_schema()).serialize()


def _encoded(values: list[Any]) -> Any:
    """Each value by itself; None where one cannot be kept so."""
    import pyarrow

    try:
        if all(_is_plain(value) for value in values):
            return pyarrow.array([_bytes(value) for value in values], pyarrow.large_binary())
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        pass
    return None


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return bytes((_JSON,)) + json.dumps(value).encode()


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the very same value back."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(name) is str and _is_plain(each) for name, each in value.items())
    return value is None or type(value) in (str, bool, int, float)


def _size(value: Any) -> int:
    if isinstance(value, str | bytes):
        return _OBJECT + len(value)
    return _OBJECT * (1 + len(value)) if isinstance(value, list | dict) else _OBJECT


def _schema() -> Any:
    import pyarrow

    return pyarrow.schema([("values", pyarrow.large_binary())])
