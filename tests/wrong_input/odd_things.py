"""Files that a clumsy user might have: each function writes what it names into the current folder."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

Setup = Callable[[], object]

LABELS = ("good", "bad")


def rows(count: int = 24, labels: Sequence[object] = LABELS) -> list[tuple[str, str]]:
    """Different short texts, each with its label; nothing is odd about them."""
    return [
        (f"the {word} film number {spelled(i)}", str(labels[i % len(labels)])) for i, word in enumerate(words(count))
    ]


def words(count: int) -> list[str]:
    """As many different words of letters, none like another."""
    syllables = ("ka", "lo", "mi", "tu", "ser", "ven", "dor", "pax", "zil", "quo", "ner", "bas")
    return ["".join(syllables[i // 12**k % 12] for k in (0, 1, 2, 3)) for i in range(7, 7 + 31 * count, 31)]


def spelled(number: int) -> str:
    return " ".join(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[int(digit)]
                    for digit in str(number))  # fmt: skip


def table_text(lines: Iterable[Sequence[str]], header: str = "text,label") -> str:
    import csv

    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return f"{header}\n{stream.getvalue()}"


def text(name: str, content: str, encoding: str = "utf-8") -> Setup:
    return lambda: Path(name).write_text(content, encoding=encoding, newline="")


def raw(name: str, content: bytes) -> Setup:
    return lambda: Path(name).write_bytes(content)


def table(name: str = "a.csv", lines: Iterable[Sequence[str]] | None = None, header: str = "text,label") -> Setup:
    content = table_text(rows() if lines is None else lines, header)
    return raw(name, gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())


def jsonl(name: str, items: Iterable[Any]) -> Setup:
    return text(name, "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))


def everything(*setups: Setup) -> Setup:
    return lambda: [setup() for setup in setups]


# ------------------------------------------------------------------------------------------------ images


def picture(number: int, mode: str = "RGB", side: int = 24) -> Image.Image:
    """An image unlike any other number's: rectangles at places drawn from the number."""
    image = Image.new("RGB", (side, side), ((number * 83) % 256, (number * 47) % 256, (number * 131) % 256))
    pen = ImageDraw.Draw(image)
    for k in range(6):
        x, y = (number * 7919 + k * 104729) % side, (number * 6007 + k * 7907) % side
        pen.rectangle(
            (x, y, x + side // 4, y + side // 3), fill=((x * 11 * (k + 1)) % 256, (y * 7) % 256, (k * 40) % 256)
        )
    return image if mode == "RGB" else image.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def photos(folder: str = "photos", classes: Sequence[str] = ("cat", "dog"), each: int = 10) -> Setup:
    """A proper folder of images by class."""

    def write() -> None:
        for c, name in enumerate(classes):
            place = Path(folder, name)
            place.mkdir(parents=True, exist_ok=True)
            for i in range(each):
                (place / f"{i}.png").write_bytes(saved(picture(c * 1000 + i)))

    return write


def bomb(side: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes whose header promises 2,500,000,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 5000))
        + chunk(b"IEND", b"")
    )


def turned() -> bytes:
    """A photo that says by EXIF that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(picture(3, side=32).crop((0, 0, 32, 16)), "JPEG", exif=exif.tobytes())


def moving() -> bytes:
    return saved(picture(5, "P"), "GIF", save_all=True, append_images=[picture(6, "P"), picture(7, "P")])


def transparent_palette() -> bytes:
    return saved(picture(8, "P"), "PNG", transparency=0)


def sixteen_bits() -> bytes:
    import numpy as np

    return saved(Image.fromarray(np.arange(24 * 24, dtype=np.uint16).reshape(24, 24) * 100), "PNG")
