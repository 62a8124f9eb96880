"""Entries on disk are whole or not there: killed writers, several processes, full and forbidden disks."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from unfreeze.stack import tables
from unfreeze.stack.budget import Budget, NoRoom
from unfreeze.stack.cache import FeatureCache
from unfreeze.stack.shelf import Shelf, cache_folder, name_of

DISK = Budget(0, 0.5)

WRITER = """
import sys, time, torch
from pathlib import Path
from unfreeze.stack.budget import Budget
from unfreeze.stack.cache import FeatureCache
folder, rows, wait = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
cache = FeatureCache(Budget(0, 0.5), folder)
features = torch.arange(float(rows))[:, None].expand(rows, 1000)
print("begun", flush=True)
sys.stdin.readline()
with cache.filling("key", [False], [1] * rows, [features[:1]]) as filling:
    for row in range(rows):
        filling.add([row], [features[row : row + 1]])
        print(row, flush=True)
        time.sleep(wait)
(store,) = filling.close()
assert store.batch(list(range(rows)))[:, 0].tolist() == list(range(rows))
"""


def writer(folder: Path, rows: int, wait: float) -> subprocess.Popen[str]:
    """A process that fills one key, a row at a time, once a line is sent to it."""
    words = [sys.executable, "-c", WRITER, str(folder), str(rows), str(wait)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "begun\n"
    process.stdin.write("\n")
    process.stdin.flush()


def fill(cache: FeatureCache, key: str, rows: int, persist: bool = False) -> Any:
    features = torch.ones(rows, 1000)
    with cache.filling(key, [False], [1] * rows, [features], persist=persist) as filling:
        for row in range(rows):
            filling.add([row], [features[row : row + 1]])
    return filling.close()


def test_a_killed_writer_leaves_nothing_that_is_seen_and_what_it_leaves_goes(tmp_path: Path) -> None:
    process = writer(tmp_path, 1000, 0.01)
    go(process)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    cache = FeatureCache(DISK, tmp_path)
    assert cache.entries() == []
    assert cache.find("key") is None
    (left,) = tmp_path.iterdir()
    fill(cache, "other", 2)
    assert left.exists(), "it could be that of a process that is at work"
    long_ago = time.time() - 2 * 3600
    for path in (*left.iterdir(), left):
        os.utime(path, (long_ago, long_ago))
    fill(cache, "another", 2)
    assert not left.exists()


KILLER = """
import itertools, os, random, signal, sys, time, torch
from pathlib import Path
from unfreeze.stack.budget import Budget
from unfreeze.stack.cache import FeatureCache
draw, rows = random.Random(0), torch.arange(40.0)[:, None].expand(40, 500)
for kill in range(30):
    child = os.fork()
    if child:
        time.sleep(draw.uniform(0.001, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        continue
    for number in itertools.count():
        cache = FeatureCache(Budget(0.5 * (number % 2), 0.5), Path(sys.argv[1]))
        with cache.filling(f"{kill} {number}", [False], [1] * 40, [rows]) as filling:
            filling.add(list(range(40)), [rows])
"""


def test_killed_at_any_moment_what_is_seen_is_whole(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLER, str(tmp_path)], check=True, timeout=120)
    cache = FeatureCache(DISK, tmp_path)
    entries = cache.entries()
    assert entries
    assert len(list(tmp_path.iterdir())) > len(entries), "some were killed while they wrote"
    for entry in entries:
        key = json.loads((entry.folder / "entry.json").read_text())["key"]
        (store,) = cache.find(key) or ()
        assert store.batch([39, 0])[:, 0].tolist() == [39, 0]
    assert cache.warnings() == []


def test_processes_that_fill_the_same_key_all_have_it(tmp_path: Path) -> None:
    processes = [writer(tmp_path, 50, 0) for _ in range(3)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [name_of("key")]
    found = FeatureCache(DISK, tmp_path).find("key")
    assert found is not None
    assert found[0].batch([49, 0])[:, 0].tolist() == [49, 0]


def test_the_second_copy_is_thrown_away_and_both_are_read(tmp_path: Path) -> None:
    one, two = FeatureCache(DISK, tmp_path), FeatureCache(DISK, tmp_path)
    rows = torch.ones(2, 3)
    fillings = [cache.filling("key", [False], [1, 1], [rows]) for cache in (one, two)]
    for filling in fillings:
        filling.add([0, 1], [rows])
    assert all(filling.close()[0].batch([1]).all() for filling in fillings)
    assert len(list(tmp_path.iterdir())) == 1
    assert one.warnings() == two.warnings() == []


def test_a_writer_whose_folder_was_removed_has_its_features_all_the_same(tmp_path: Path) -> None:
    cache = FeatureCache(DISK, tmp_path)
    rows = torch.ones(2, 3)
    filling = cache.filling("key", [False], [1, 1], [rows])
    filling.add([0, 1], [rows])
    Shelf(tmp_path).sweep(older=-1)
    assert not list(tmp_path.iterdir())
    assert filling.close()[0].batch([0, 1]).all()
    (warning,) = cache.warnings()
    assert "not kept for later runs" in warning
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_while_filling_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    def interrupted() -> None:
        with FeatureCache(DISK, tmp_path).filling("key", [False], [1, 1], [torch.ones(1, 3)]) as filling:
            filling.add([0], [torch.ones(1, 3)])
            raise kind

    with pytest.raises(kind):
        interrupted()
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------- disks that fail


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "unfreeze-test", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mounting a small file system is not possible here: {error}")
    if done.returncode:
        pytest.skip(f"mounting a small file system is not possible here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def believe(monkeypatch: pytest.MonkeyPatch, memory: int, disk: int) -> None:
    """What the cache takes for free."""
    monkeypatch.setattr("unfreeze.stack.cache.free_memory", lambda: memory)
    monkeypatch.setattr("unfreeze.stack.cache.free_disk", lambda path: disk)


@pytest.mark.parametrize("reserving", [True, False])
def test_a_full_disk_means_no_room(small_disk: Path, monkeypatch: pytest.MonkeyPatch, reserving: bool) -> None:
    """Known at once where a system reserves space, and while filling where it does not."""
    believe(monkeypatch, 0, 10**9)
    if not reserving:
        monkeypatch.setattr(tables, "_reserve", lambda file, size: os.truncate(file, size))
    cache = FeatureCache(DISK, small_disk)
    with pytest.raises(NoRoom, match=r"2\.0 MB, but the cache could not be written: No space left"):
        fill(cache, "key", 500)
    assert not list(small_disk.iterdir())
    assert fill(cache, "key", 100)[0].batch([99]).all()


def test_features_in_memory_do_not_need_the_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    believe(monkeypatch, 10**9, 10**9)
    cache = FeatureCache(Budget(0.5, 0.5), small_disk)
    assert fill(cache, "key", 500, persist=True)[0].batch([99]).all()
    (warning,) = cache.warnings()
    assert warning.endswith("not kept for later runs, but the cache could not be written: No space left on device")
    assert not list(small_disk.iterdir())


def test_old_entries_make_room_on_a_full_disk(small_disk: Path) -> None:
    cache = FeatureCache(Budget(0, 0.9), small_disk)
    for key in "abc":
        fill(cache, key, 200)
    assert len(cache.entries()) == 1


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_disk_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(NoRoom, match="could not be written"):
            fill(FeatureCache(DISK, tmp_path), "key", 5)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    disk, both = (FeatureCache(budget, tmp_path / "file" / "cache") for budget in (DISK, Budget()))
    assert disk.find("key") is None
    assert disk.entries() == []
    with pytest.raises(NoRoom, match="could not be written: Not a directory"):
        fill(disk, "key", 5)
    assert fill(both, "key", 5, persist=True)[0].batch([4]).all()
    assert len(both.warnings()) == 1
    both.drop("key")


# ------------------------------------------------------------------------------------------------------- places


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNFREEZE_CACHE", "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("UNFREEZE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/unfreeze/features")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/unfreeze/features")


def test_nothing_but_entries_is_listed_or_removed(tmp_path: Path) -> None:
    """A folder that somebody named by mistake keeps what is in it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "letter.txt").write_text("dear")
    shelf = Shelf(tmp_path)
    assert shelf.entries() == []
    shelf.sweep(older=-1)
    shelf.remove("photos")
    assert shelf.make_room(10, 5) is False
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "letter.txt"}
