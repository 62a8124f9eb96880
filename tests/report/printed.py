"""The text of a PDF as Chromium prints it, to see what stands on paper."""

from __future__ import annotations

import re
import zlib

OBJECT = re.compile(rb"(?m)^(\d+) 0 obj\b(.*?)^endobj", re.DOTALL)
STREAM = re.compile(rb"stream\r?\n(.*)\r?\nendstream", re.DOTALL)
SHOWN = re.compile(rb"/F(\d+) [\d.]+ Tf|\[([^\]]*)\] ?TJ|(<[0-9A-Fa-f ]*>) ?Tj")
PAIR = re.compile(rb"<([0-9A-Fa-f]+)> *<([0-9A-Fa-f]+)>(?: *<([0-9A-Fa-f]+)>)?")


def text_of(pdf: bytes) -> str:
    """All text, without spaces: glyphs are looked up in the tables by which a reader copies text."""
    objects = {int(number): body for number, body in OBJECT.findall(pdf)}
    streams = {number: data for number, body in objects.items() if (data := _stream(body)) is not None}
    tables = {
        number: _table(streams[int(found[1])])
        for number, body in objects.items()
        if (found := re.search(rb"/ToUnicode (\d+) 0 R", body))
    }
    return "".join("".join(_shown(data, tables)) for data in streams.values() if b" Tf" in data)


def _stream(body: bytes) -> bytes | None:
    found = STREAM.search(body)
    if found is None:
        return None
    if b"/FlateDecode" not in body[: found.start()]:
        return found[1]
    try:
        return zlib.decompressobj().decompress(found[1])
    except zlib.error:
        return None


def _table(content: bytes) -> tuple[int, dict[int, str]]:
    """Digits of a code, and what each code stands for."""
    table: dict[int, str] = {}
    for kind, part in re.findall(rb"begin(bfchar|bfrange)(.*?)endbf", content, re.DOTALL):
        for first, second, third in PAIR.findall(part):
            if kind == b"bfchar":
                table[int(first, 16)] = _letters(second)
                continue
            start = int(third, 16)
            for place in range(int(second, 16) - int(first, 16) + 1):
                table[int(first, 16) + place] = chr(start + place)
    space = re.search(rb"begincodespacerange\s*<([0-9A-Fa-f]+)>", content)
    return (len(space[1]) if space else 4), table


def _letters(code: bytes) -> str:
    return bytes.fromhex(code.decode()).decode("utf-16-be", "replace")


def _shown(content: bytes, tables: dict[int, tuple[int, dict[int, str]]]) -> list[str]:
    digits, table = 4, dict[int, str]()
    found: list[str] = []
    for font, several, one in SHOWN.findall(content):
        if font:
            digits, table = tables.get(int(font), (4, {}))
            continue
        for part in re.findall(rb"<([0-9A-Fa-f ]*)>", several or one):
            codes = part.replace(b" ", b"")
            found += [table.get(int(codes[at : at + digits], 16), "") for at in range(0, len(codes), digits)]
    return ["".join(found).replace(" ", "").replace("\u00a0", "")]
