"""Files are whole or not there; a full disk is said in one line; JSON holds no NaN."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest

from unfreeze.errors import UnfreezeError
from unfreeze.train.files import append_json, file_sha256, finite, full_disk_said, read_json, write_bytes, write_json


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="broken"):
            write_json(path, {"new": 2})
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError("I/O error: No space left on device (os error 28)"),
])  # fmt: skip
def test_every_way_to_say_that_the_disk_is_full(tmp_path: Path, error: Exception) -> None:
    message = r"The disk is full: '.*a' could not be written.*unfreeze resume"
    with pytest.raises(UnfreezeError, match=message), full_disk_said(tmp_path / "a"):
        raise error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied"), ValueError("other")])
def test_other_errors_pass(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), full_disk_said(tmp_path / "a"):
        raise error


def test_plain_values_come_back_exactly(tmp_path: Path) -> None:
    values = {"π": 0.1 + 0.2, "tiny": 5e-324, "list": [1, None, "a\u2028b"], "no": float("nan"), "inf": -math.inf}
    write_json(tmp_path / "a.json", values)
    assert read_json(tmp_path / "a.json") == {**values, "no": None, "inf": None}
    assert finite((1, float("inf"))) == [1, None]
    append_json(tmp_path / "b.jsonl", {"a": 1})
    append_json(tmp_path / "b.jsonl", {"a": float("nan")})
    assert [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()] == [{"a": 1}, {"a": None}]


def test_digest(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
