"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unfreeze.errors import UnfreezeError


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Turn a full disk into one clear message that says how to go on."""
    try:
        yield
    except UnfreezeError:
        raise
    except Exception as error:
        if not _is_full_disk(error):
            raise
        raise UnfreezeError(
            f"The disk is full: '{path}' could not be written. What was written before is intact; "
            "free some space and continue with `unfreeze resume`."
        ) from error


def _is_full_disk(error: Exception) -> bool:
    """safetensors and tokenizers raise errors of their own, which only name the number in their message."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    forms = ("(os error {})", "Os {{ code: {},")
    return any(form.format(number) in str(error) for form in forms for number in (errno.ENOSPC, errno.EDQUOT))


def write_bytes(path: Path, content: bytes) -> None:
    """Write, flush to disk, then rename into place."""
    temporary = path.with_name(f".{path.name}.tmp")
    with full_disk_said(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as readable JSON, atomically. NaN becomes null."""
    write_bytes(path, (json.dumps(finite(value), indent=2, ensure_ascii=False) + "\n").encode())


def append_json(path: Path, value: Any) -> None:
    """Append one line of JSON."""
    with full_disk_said(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite(value), ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Plain values from a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def finite(value: Any) -> Any:
    """Plain values in which no float is NaN or infinite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def file_sha256(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
