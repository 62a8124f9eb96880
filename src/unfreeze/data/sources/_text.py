"""Bytes of a file, and what text they hold."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

from unfreeze.data.manifest import Finding
from unfreeze.errors import DataError, nearest

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked when its name ends in .gz."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.name.lower().endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"File '{path}' cannot be read: {error}.") from error
    if not data.strip():
        raise DataError(f"File '{path}' is empty.")
    return data


def decode(data: bytes, path: Path, encoding: str | None) -> tuple[str, list[Finding]]:
    """Bytes as text; bytes that do not fit the encoding become surrogates, so that only their rows are lost."""
    name = encoding or _detect(data)
    if encoding is None:
        _refuse_binary(data, path)
    try:
        codecs.lookup(name)
    except LookupError as error:
        known = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "shift_jis", "gb18030", "big5", "euc-kr")
        raise DataError(f"Unknown encoding '{name}'. {nearest(name, known)}") from error
    try:
        text = data.decode(name, errors="surrogateescape")
    except UnicodeError as error:
        raise DataError(f"File '{path}' is not {name}: {error}. Give another with --set data.encoding=…") from error
    if not text.strip("\ufeff \t\r\n\v\f\x1c\x1d\x1e\x1f\x85"):
        raise DataError(f"File '{path}' is empty.")
    notes = []
    if name not in ("utf-8", "ascii"):
        how = "as asked" if encoding else "recognised from its bytes"
        notes.append(Finding("encoding", "info", f"{path.name} was read as {name}, {how}."))
    return text, notes


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


def _refuse_binary(data: bytes, path: Path) -> None:
    """What begins like a file of another kind, or is full of NUL bytes, is no table of text."""
    kind = next((what for start, what in _KINDS if data.startswith(start)), "")
    if kind:
        raise DataError(f"File '{path}' is no text: it begins like {kind}.")
    if data.startswith(tuple(mark for mark, _ in _BOMS)) or _wide(data):
        return
    head = data[:4096]
    if len(head) >= 256 and head.count(0) > 0.05 * len(head):
        raise DataError(f"File '{path}' is no text: it is full of NUL bytes.")


def _wide(data: bytes) -> str:
    """UTF-16 without its mark: in mostly Latin text every second byte is zero."""
    head = data[:4096]
    even, odd = head[::2].count(0), head[1::2].count(0)
    least = 0.4 * len(head) / 2
    return "utf-16-le" if odd > least and even < odd / 8 else "utf-16-be" if even > least and odd < even / 8 else ""


def undecodable(text: str) -> bool:
    """Whether a text holds bytes that did not fit the encoding."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _detect(data: bytes) -> str:
    """By byte order mark, then UTF-8, then a guess; UTF-8 with odd lines among proper ones stays UTF-8."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    if wide := _wide(data):
        return wide
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "utf-8" if _mostly_utf8(data) else _guess(data)
    return "utf-8"


def _mostly_utf8(data: bytes) -> bool:
    """Whether, of the lines that are not ASCII, at least half are proper UTF-8."""
    good = bad = 0
    for line in data.splitlines():
        if not line.isascii():
            try:
                line.decode("utf-8")
                good += 1
            except UnicodeDecodeError:
                bad += 1
    return good >= bad


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    odd = b"\n".join(line for line in data.splitlines() if not line.isascii())[:200_000]
    best = from_bytes(odd).best()
    return best.encoding if best else "cp1252"
