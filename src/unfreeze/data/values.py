"""Single values of a table: whether they are missing, and as text, label, number or image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import ImageRef

_NO_TARGET = frozenset(("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "#N/A", "null", "NULL", "NaT"))


def is_missing(value: Any) -> bool:
    """None, not-a-number, pandas' NA, or a string of nothing but spaces."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, str) and not value.strip()


def is_missing_target(value: Any) -> bool:
    """Missing, or a word that tables write for it ("none" is not among them: it can be a label)."""
    return is_missing(value) or (isinstance(value, str) and value.strip() in _NO_TARGET)


def as_text(value: Any) -> str:
    """A cell as text; whole numbers without ".0"."""
    if is_missing(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return whole_characters(str(value))


def whole_characters(text: str) -> str:
    """The text with halves of characters (lone surrogates, as JSON may hold) joined, or replaced by �."""
    if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def nested(value: Any) -> str:
    """Why a cell that holds further values is no text and no label; "" for every other cell."""
    if isinstance(value, dict):
        inner = ", ".join(repr(str(name)[:30]) for name in list(value)[:3])
        return f"holds an object (with {inner}) where a plain value was expected"
    return "holds a list where a plain value was expected" if isinstance(value, list | tuple) else ""


def as_number(value: Any) -> float | None:
    """A finite number, or none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_image(value: Any, root: Path | None) -> ImageRef | str:
    """An image that lies within `root`, or the reason why there is none."""
    if isinstance(value, ImageRef):
        return value
    if isinstance(value, bytes):
        return ImageRef(data=value)
    if isinstance(value, dict):
        if value.get("bytes"):
            return ImageRef(data=value["bytes"])
        value = value.get("path")
    if not isinstance(value, str | Path) or is_missing(value):
        return "missing image"
    if str(value).startswith(("http://", "https://", "file:", "data:")):
        return f"'{str(value)[:80]}' is an address, not a file in the data folder"
    if "\0" in str(value):
        return "the image's name contains NUL bytes"
    path = Path(str(value).strip())
    if root is None:
        return ImageRef(path=path)
    whole = root / path
    if not whole.resolve().is_relative_to(root.resolve()):
        return f"'{value}' leaves the data folder"
    return ImageRef(path=whole)


def plain(value: Any) -> Any:
    """A value that JSON can hold; bytes and images by what they are."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, ImageRef):
        return str(value.path) if value.path else f"<image of {len(value.data or b'')} bytes>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return str(value)
