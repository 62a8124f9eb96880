"""What is free on this machine, as far as this process may use it. Imports no torch."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

LIMITS = {
    "": ("memory.max", "memory.current", ""),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}
"""By controller (none: version 2 of control groups): the files with limit and use, and the prefix in memory.stat."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""As glibc's malloc.h has them."""

USUAL = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 2**25}
"""As many pieces mapped by themselves as glibc allows, and at most so many freed bytes kept at the heap's end."""

LARGE = 10**6

UNKNOWN = 2 * 1024**3
"""Taken where a system says nothing about its memory."""


def free_memory() -> int:
    """Bytes that can be taken without swapping: of the machine, and within each container around this process."""
    return max(0, min(_of_machine(), *_of_containers()))


def resident_memory() -> tuple[int, int]:
    """Bytes of this process that are in memory, and how many of them are pages of files, which others may share.

    Both are 0 where a system does not say.
    """
    lines = _lines(PROC / "self" / "statm")
    if not lines:
        return 0, 0
    resident, shared = (int(pages) * os.sysconf("SC_PAGE_SIZE") for pages in lines[0].split()[1:3])
    return resident, shared


def give_back() -> None:
    """Let the C library return to the system what was freed; by itself it keeps most of it."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back_at_once() -> None:
    """Let the C library return freed memory to the system from now on, if it came in large pieces.

    By itself it keeps such pieces for the next allocation, and when sizes vary what it keeps can exceed what is used.
    New pages cost time: a fifth of a training step of a small transformer on a CPU. There is no way back.
    """
    _set_malloc({M_MMAP_THRESHOLD: LARGE})


@contextmanager
def keeping_pages() -> Iterator[None]:
    """While it lasts, let the C library keep what is freed for the next allocation, however large that is.

    By itself it gets pieces of more than 32 MiB from the system each time, which has to clear every page: with the
    activations of images that takes longer than many a layer. For batches of one shape; others leave gaps.
    """
    _KEEPERS.append(0)
    _set_malloc({M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1})  # -1: nothing is given back
    try:
        yield
    finally:
        _KEEPERS.pop()
        if not _KEEPERS:
            _set_malloc(USUAL)
            give_back()


_KEEPERS: list[int] = []
"""One for each block that keeps pages now: the outermost ends it."""


def _set_malloc(options: Mapping[int, int]) -> None:
    with suppress(OSError, AttributeError, TypeError):
        for option, value in options.items():
            ctypes.CDLL(None).mallopt(option, value)


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_disk(path: Path) -> int:
    """Bytes that can be written at that path, which need not exist yet."""
    path = path.absolute()
    return shutil.disk_usage(next(place for place in (path, *path.parents) if place.exists())).free


def _of_machine() -> int:
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    try:
        # Not Linux: what is free cannot be asked for so simply, so half of what there is.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def _of_containers() -> Iterator[int]:
    """What each control group that limits this process leaves it; at least one figure, however large."""
    yield 2**63
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in LIMITS.keys() & set(controllers.split(",")):
            # Inside a container the path may be one that is only seen from outside; then the root is its own group.
            group = CGROUPS / controller / path.strip("/")
            yield from (
                _left(place, controller) for place in (group, *group.parents) if CGROUPS in (place, *place.parents)
            )


def _left(group: Path, controller: str) -> int:
    limit_file, use_file, prefix = LIMITS[controller]
    limit, used = _lines(group / limit_file), _lines(group / use_file)
    if not limit or not used or not limit[0].isdigit():  # "max": no limit
        return 2**63
    pages = dict(line.split()[:2] for line in _lines(group / "memory.stat") if " " in line)
    # Pages of files are counted as used and yet given back when somebody needs them.
    given_back = sum(int(pages.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    return int(limit[0]) - max(0, int(used[0]) - given_back)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
