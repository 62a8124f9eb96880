"""Bytes of a file, and what text they hold. A small file is read once, a large one as often as it is looked at."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from unfreeze.data import stored
from unfreeze.data.manifest import Finding
from unfreeze.errors import DataError, nearest

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 2**20
_HEAD = 4096
_GUESSED_FROM = 200_000
_BLANK = "\ufeff \t\r\n\v\f\x1c\x1d\x1e\x1f\x85"


@dataclass(frozen=True)
class _Content:
    """The bytes of a file, unpacked when its name ends in .gz; `data` are all of them, unless they are many."""

    path: Path
    data: bytes | None = None

    def open(self) -> IO[bytes]:
        """The bytes from their beginning."""
        return _opened(self.path) if self.data is None else io.BytesIO(self.data)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, some at a time."""
        with self.open() as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def lines(self) -> Iterator[bytes]:
        """The lines as `bytes.splitlines` tells them apart."""
        with self.open() as file:
            for piece in file:
                yield from piece.splitlines()

    def head(self) -> bytes:
        """The first bytes."""
        with self.open() as file:
            return file.read(_HEAD)

    def whole(self) -> bytes:
        """All bytes."""
        with self.open() as file:
            return file.read()


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked when its name ends in .gz."""
    return _content(path).whole()


def read_text(path: Path, encoding: str | None) -> tuple[str, list[Finding]]:
    """The text of a file; bytes that do not fit the encoding become surrogates, so that only their rows are lost."""
    content = _content(path)
    name, findings = _recognised(content, encoding)
    return content.whole().decode(name, errors="surrogateescape").removeprefix("\ufeff"), findings


def read_lines(path: Path, encoding: str | None, ends: str = "") -> tuple[Iterator[str], list[Finding]]:
    """The lines of a text as `read_text` gives it, with their ends, one after the other.

    Parameters
    ----------
    ends : what ends a line; "": a line feed, a carriage return, or both
    """
    content = _content(path)
    name, findings = _recognised(content, encoding)
    return _lines(content, name, ends), findings


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _content(path: Path) -> _Content:
    """The file, of which every byte can be read and at least one is no space."""
    try:
        with _opened(path) as file:
            data = file.read(stored.LARGE + 1)
            small, blank = len(data) <= stored.LARGE, not data or data.isspace()
            while not small and (chunk := file.read(_CHUNK)):
                blank = blank and chunk.isspace()
                if not blank and not path.name.lower().endswith(".gz"):
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"File '{path}' cannot be read: {error}.") from error
    if blank:
        raise DataError(f"File '{path}' is empty.")
    return _Content(path, data if small else None)


def _recognised(content: _Content, encoding: str | None) -> tuple[str, list[Finding]]:
    """The encoding, in which the whole file can be read, and what there is to say of it."""
    path, name = content.path, encoding or _detect(content)
    if encoding is None:
        _refuse_binary(content.head(), path)
    try:
        codecs.lookup(name)
    except LookupError as error:
        known = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "shift_jis", "gb18030", "big5", "euc-kr")
        raise DataError(f"Unknown encoding '{name}'. {nearest(name, known)}") from error
    try:
        blank = _is_blank(content, name)
    except UnicodeError as error:
        raise DataError(f"File '{path}' is not {name}: {error}. Give another with --set data.encoding=…") from error
    if blank:
        raise DataError(f"File '{path}' is empty.")
    notes = []
    if name not in ("utf-8", "ascii"):
        how = "as asked" if encoding else "recognised from its bytes"
        notes.append(Finding("encoding", "info", f"{path.name} was read as {name}, {how}."))
    return name, notes


def _is_blank(content: _Content, name: str) -> bool:
    """Whether a text has nothing but spaces; decoded to its end, since an error can lie there."""
    if content.data is not None:
        return not content.data.decode(name, errors="surrogateescape").strip(_BLANK)
    decoder, blank = codecs.getincrementaldecoder(name)("surrogateescape"), True
    try:
        for chunk in content.chunks():
            blank = not decoder.decode(chunk).strip(_BLANK) and blank
        return not decoder.decode(b"", final=True).strip(_BLANK) and blank
    except UnicodeError:
        content.whole().decode(name, errors="surrogateescape")  # says where in the file
        raise


def _lines(content: _Content, name: str, ends: str) -> Iterator[str]:
    with io.TextIOWrapper(content.open(), encoding=name, errors="surrogateescape", newline=ends) as text:
        first = next(text, "").removeprefix("\ufeff")
        if first:
            yield first
        yield from text


_KINDS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a zip archive, which Excel's .xlsx files are too"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x1f\x8b", "a gzip archive; let its name end in .gz"),
    (b"PAR1", "a Parquet file; let its name end in .parquet"),
    (b"%PDF", "a PDF"),
    (b"SQLite", "an SQLite database"),
)


def _refuse_binary(head: bytes, path: Path) -> None:
    """What begins like a file of another kind, or is full of NUL bytes, is no table of text."""
    kind = next((what for start, what in _KINDS if head.startswith(start)), "")
    if kind:
        raise DataError(f"File '{path}' is no text: it begins like {kind}.")
    if head.startswith(tuple(mark for mark, _ in _BOMS)) or _wide(head):
        return
    if len(head) >= 256 and head.count(0) > 0.05 * len(head):
        raise DataError(f"File '{path}' is no text: it is full of NUL bytes.")


def _wide(head: bytes) -> str:
    """UTF-16 without its mark: in mostly Latin text every second byte is zero."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    least = 0.4 * len(head) / 2
    return "utf-16-le" if odd > least and even < odd / 8 else "utf-16-be" if even > least and odd < even / 8 else ""


def undecodable(text: str) -> bool:
    """Whether a text holds bytes that did not fit the encoding."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _detect(content: _Content) -> str:
    """By byte order mark, then UTF-8, then a guess; UTF-8 with odd lines among proper ones stays UTF-8."""
    head = content.head()
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if wide := _wide(head):
        return wide
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in content.chunks():
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "utf-8" if _mostly_utf8(content) else _guess(content)
    return "utf-8"


def _mostly_utf8(content: _Content) -> bool:
    """Whether, of the lines that are not ASCII, at least half are proper UTF-8."""
    good = bad = 0
    for line in content.lines():
        if not line.isascii():
            try:
                line.decode("utf-8")
                good += 1
            except UnicodeDecodeError:
                bad += 1
    return good >= bad


def _guess(content: _Content) -> str:
    from charset_normalizer import from_bytes

    odd = bytearray()
    for line in content.lines():
        if not line.isascii():
            odd += line + b"\n"
            if len(odd) > _GUESSED_FROM:
                break
    best = from_bytes(bytes(odd.removesuffix(b"\n"))[:_GUESSED_FROM]).best()
    return best.encoding if best else "cp1252"
