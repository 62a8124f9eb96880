"""What is free, also inside containers: files as Linux writes them, in both versions of control groups."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from unfreeze import machine

GIGA = 1024**3


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 10 GB free, without any container."""
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    write(tmp_path / "proc" / "meminfo", f"MemTotal: 99 kB\nMemAvailable:   {10 * 1024**2} kB\nBuffers: 1 kB\n")
    return tmp_path


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}")


def group(folder: Path, limit: object, used: int, files: int = 0) -> None:
    """A group of version 2 with so many bytes in pages of files."""
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 5\nactive_file {files}\ninactive_file {files}\n")


def test_the_machine_itself(linux: Path) -> None:
    assert machine.free_memory() == 10 * GIGA
    write(linux / "proc" / "self" / "cgroup", "0::/\n")
    assert machine.free_memory() == 10 * GIGA


def test_a_container_and_those_around_it(linux: Path) -> None:
    write(linux / "proc" / "self" / "cgroup", "0::/pod/box\n")
    group(linux / "cgroup" / "pod" / "box", 8 * GIGA, 3 * GIGA, GIGA // 2)
    assert machine.free_memory() == 6 * GIGA
    group(linux / "cgroup" / "pod", 4 * GIGA, 3 * GIGA)
    assert machine.free_memory() == GIGA
    group(linux / "cgroup" / "pod", "max", 3 * GIGA)
    assert machine.free_memory() == 6 * GIGA


def test_a_container_seen_from_inside(linux: Path) -> None:
    """Its path is that of the world outside, while its own group is the root."""
    for path in ("/", "/kubepods/pod1/abc", "/../../other"):
        write(linux / "proc" / "self" / "cgroup", f"0::{path}\n")
        group(linux / "cgroup", 2 * GIGA, GIGA)
        assert machine.free_memory() == GIGA


def test_version_1(linux: Path) -> None:
    write(linux / "proc" / "self" / "cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n")
    folder = linux / "cgroup" / "memory" / "job"
    write(folder / "memory.limit_in_bytes", 5 * GIGA)
    write(folder / "memory.usage_in_bytes", 4 * GIGA)
    write(folder / "memory.stat", f"inactive_file 7\ntotal_inactive_file {GIGA}\ntotal_active_file 0\n")
    assert machine.free_memory() == 2 * GIGA
    write(folder / "memory.limit_in_bytes", 9223372036854771712)
    assert machine.free_memory() == 10 * GIGA


def test_more_used_than_allowed_is_nothing_free(linux: Path) -> None:
    write(linux / "proc" / "self" / "cgroup", "0::/box\n")
    group(linux / "cgroup" / "box", GIGA, 2 * GIGA)
    assert machine.free_memory() == 0


def test_other_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROC", tmp_path)
    assert machine.free_memory() > 0
    monkeypatch.delattr("os.sysconf")
    assert machine.free_memory() == machine.UNKNOWN


def test_the_disk_of_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    assert machine.free_disk(tmp_path / "a" / "b") > 0
    assert machine.free_disk(Path("relative/one")) > 0


def test_pages_are_kept_until_the_outermost_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[int, int]] = []
    monkeypatch.setattr(machine, "_set_malloc", lambda options: asked.append(dict(options)))
    with suppress(ZeroDivisionError), machine.keeping_pages():
        with machine.keeping_pages():
            assert machine.USUAL not in asked
        assert machine.USUAL not in asked
        _ = 1 / 0
    assert asked[-1] == machine.USUAL
    assert asked.count(machine.USUAL) == 1
