"""What commands write to standard output: one JSON document, or tables."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from unfreeze.progress import printable


@contextlib.contextmanager
def only_document(as_json: bool) -> Iterator[None]:
    """While JSON was asked for, whatever a library prints goes to standard error."""
    if not as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def emit(document: Any) -> None:
    """Write one JSON document to standard output; figures that are not finite become null."""
    print(json.dumps(plain(document), allow_nan=False, indent=2))


def show(*parts: RenderableType) -> None:
    """Write tables and texts to standard output; wide enough for whole lines where it is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, 120))
    for part in parts:
        console.print(part)


def note(message: str) -> None:
    """Write a line to standard error that a person should see whatever the mode."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"note: {printable(message)}", style="yellow"))


def plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    item = getattr(value, "item", None)  # numpy scalars
    return plain(item()) if callable(item) else str(value)
