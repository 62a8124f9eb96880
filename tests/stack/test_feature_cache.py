"""Two tiers within a budget: what is found, what goes first, what does not fit, and what is told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from unfreeze.stack import cache as module
from unfreeze.stack.budget import Budget, NoRoom
from unfreeze.stack.cache import FeatureCache
from unfreeze.stack.features import FeatureStore
from unfreeze.stack.shelf import Shelf, name_of

MEMORY, DISK = Budget(0.5, 0), Budget(0, 0.5)


def fill(
    cache: FeatureCache, key: str, values: int = 100, rows: int = 4, persist: bool = False
) -> Sequence[FeatureStore]:
    """`rows` rows of `values` numbers of four bytes, each row its own number."""
    features = torch.arange(float(rows))[:, None].expand(rows, values)
    description = {"data": f"{key}.csv", "model": "m"}
    filling = cache.filling(key, [False], [1] * rows, [features], persist=persist, description=description)
    with filling:
        filling.add(list(range(rows)), [features])
    return filling.close()


def right(stores: Sequence[FeatureStore] | None) -> bool:
    return stores is not None and stores[0].batch([3, 0])[:, 0].tolist() == [3, 0]


def keys(cache: FeatureCache) -> list[str]:
    return [entry.description["data"].removesuffix(".csv") for entry in cache.entries()]


def size_of_entry(folder: Path) -> int:
    """What `fill` writes, with its description."""
    cache = FeatureCache(DISK, folder / "probe")
    fill(cache, "x")
    return cache.entries()[0].bytes


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What is free, as the cache sees it; what it writes changes nothing."""
    figures = {"memory": 10**9, "disk": 10**9}
    monkeypatch.setattr(module, "free_memory", lambda: figures["memory"])
    monkeypatch.setattr(module, "free_disk", lambda path: figures["disk"])
    return figures


def test_memory_first_and_disk_for_other_processes(tmp_path: Path) -> None:
    cache = FeatureCache(Budget(), tmp_path)
    assert cache.find("a") is None
    made = fill(cache, "a", persist=True)
    assert right(made)
    assert made[0].in_memory
    assert cache.bytes == 4 * 100 * 4
    other = FeatureCache(Budget(), tmp_path)
    found = other.find("a")
    assert right(found)
    assert found is not None
    assert not found[0].in_memory
    assert other.bytes == 0
    assert right(cache.find("a"))


def test_only_what_is_worth_it_is_written(tmp_path: Path) -> None:
    cache = FeatureCache(Budget(), tmp_path)
    fill(cache, "a", persist=False)
    assert right(cache.find("a"))
    assert not list(tmp_path.iterdir())
    cache.clear()
    assert cache.find("a") is None


def test_dropped_here_and_on_disk(tmp_path: Path) -> None:
    cache = FeatureCache(Budget(), tmp_path)
    fill(cache, "a", persist=True)
    cache.drop("a")
    cache.drop("unknown")
    assert cache.find("a") is None
    assert not list(tmp_path.iterdir())


def test_cleared_memory_leaves_the_disk(tmp_path: Path) -> None:
    cache = FeatureCache(Budget(), tmp_path)
    fill(cache, "a", persist=True)
    cache.clear()
    assert cache.bytes == 0
    assert right(cache.find("a"))


def test_the_entry_says_what_it_is(tmp_path: Path) -> None:
    cache = FeatureCache(DISK, tmp_path)
    fill(cache, "a")
    (entry,) = cache.entries()
    assert (entry.key, entry.rows) == (name_of("a"), 4)
    assert entry.description == {"data": "a.csv", "model": "m"}
    assert 4 * 100 * 4 < entry.bytes < 4 * 100 * 4 + 2000
    assert (entry.folder.stat().st_mode & 0o777) == 0o700


# ----------------------------------------------------------------------------------------------- what goes first


def test_in_memory_the_least_recently_used_go_first_and_never_what_is_held(
    tmp_path: Path, free: dict[str, int]
) -> None:
    cache = FeatureCache(Budget(most=4 * 1600), tmp_path)
    for key in "abc":
        fill(cache, key)
    held = cache.find("a")
    cache.find("b")
    fill(cache, "d")
    fill(cache, "e")
    assert cache.bytes == 4 * 1600
    assert [cache.find(key) is not None for key in "abcde"] == [True, True, False, True, True]
    del held
    fill(cache, "f", rows=12)
    assert [cache.find(key) is not None for key in "abcdef"] == [False, False, False, False, True, True]


def test_what_waits_for_the_garbage_collector_is_not_held(tmp_path: Path, free: dict[str, int]) -> None:
    cache = FeatureCache(Budget(most=2000), tmp_path)
    cycle: list[object] = [fill(cache, "a")]
    cycle.append(cycle)
    del cycle
    assert fill(cache, "b")[0].in_memory
    assert cache.bytes == 1600


def test_on_disk_the_least_recently_used_go_first(tmp_path: Path, free: dict[str, int]) -> None:
    one = size_of_entry(tmp_path)
    cache = FeatureCache(Budget(0, 0, most=3 * one + 10), tmp_path / "cache")
    free["memory"] = 0
    for place, key in enumerate("abc"):
        fill(cache, key)
        used(cache, key, place)
    cache.find("a")
    fill(cache, "d")
    assert keys(cache) == ["c", "a", "d"]
    held = cache.find("c")
    used(cache, "c", 0)
    fill(cache, "e")
    assert keys(cache) == ["c", "d", "e"], "what is mapped here would free nothing"
    del held


def used(cache: FeatureCache, key: str, when: float) -> None:
    (entry,) = (entry for entry in cache.entries() if entry.description["data"] == f"{key}.csv")
    os.utime(entry.folder / "entry.json", (when, when))


def test_what_was_removed_meanwhile_can_still_be_read(tmp_path: Path) -> None:
    stores = fill(FeatureCache(DISK, tmp_path), "a")
    FeatureCache(DISK, tmp_path).drop("a")
    assert not list(tmp_path.iterdir())
    assert right(stores)


# ------------------------------------------------------------------------------------------------------- budget


def test_too_large_for_memory_is_mapped_from_disk(tmp_path: Path, free: dict[str, int]) -> None:
    cache = FeatureCache(Budget(0.4, 0.1), tmp_path)
    free["memory"] = 3999
    stores = fill(cache, "a", persist=False)
    assert right(stores)
    assert not stores[0].in_memory
    assert cache.bytes == 0
    free["memory"] = 4001
    assert fill(cache, "b")[0].in_memory


def test_too_large_for_both_is_refused_before_anything_is_written(tmp_path: Path, free: dict[str, int]) -> None:
    cache = FeatureCache(Budget(0.4, 0.1), tmp_path)
    free |= {"memory": 1000, "disk": 15_000}
    with pytest.raises(NoRoom, match=r"1\.6 kB, of which 1\.5 kB are allowed \(training\.cache_budget\)") as caught:
        fill(cache, "a", persist=True)
    assert (caught.value.needed, caught.value.allowed) == (1600, 1500)
    assert not list(tmp_path.iterdir())


def test_zero_switches_both_off(tmp_path: Path) -> None:
    cache = FeatureCache(Budget(), tmp_path)
    fill(cache, "a", persist=True)
    for nothing in (Budget(0, 0), Budget(most=0)):
        cache.budget = nothing
        assert cache.find("a") is None
        with pytest.raises(NoRoom):
            fill(cache, "b")
    assert len(cache.entries()) == 1


def test_features_that_are_just_being_computed_are_counted(tmp_path: Path, free: dict[str, int]) -> None:
    """Several frontiers are filled in one pass; their memory looks free until it is written."""
    cache = FeatureCache(Budget(0.4, 0.1), tmp_path)
    free |= {"memory": 10_000, "disk": 40_000}
    rows = torch.zeros(4, 100)
    two = [cache.filling(key, [False], [1] * 4, [rows]) for key in "ab"]
    assert [each.in_memory for each in two] == [True, True]
    third = cache.filling("c", [False], [1] * 4, [rows])
    assert not third.in_memory
    fourth = cache.filling("d", [False], [1] * 4, [rows])
    with pytest.raises(NoRoom):
        cache.filling("e", [False], [1] * 4, [rows])
    two[0].discard()
    assert cache.filling("e", [False], [1] * 4, [rows]).in_memory
    for each in (third, fourth):
        each.discard()
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_on_disk_too_is_kept_in_memory_alone(tmp_path: Path, free: dict[str, int]) -> None:
    cache = FeatureCache(Budget(0.4, 0.1), tmp_path)
    free["disk"] = 100
    assert right(fill(cache, "a", persist=True))
    assert not list(tmp_path.iterdir())
    assert cache.warnings() == []


# ------------------------------------------------------------------------------------------------------- damage


def change(entry: Path, name: str, place: int) -> None:
    content = bytearray((entry / name).read_bytes())
    content[place] ^= 1
    (entry / name).write_bytes(content)


DAMAGES = {
    "a bit of a table": lambda entry: change(entry, "0.bin", 700),
    "a bit of the lengths": lambda entry: change(entry, "lengths.bin", 3),
    "a table cut short": lambda entry: os.truncate(entry / "0.bin", 1599),
    "a table that is missing": lambda entry: (entry / "0.bin").unlink(),
    "a description that is missing": lambda entry: (entry / "entry.json").unlink(),
    "a description cut short": lambda entry: os.truncate(entry / "entry.json", 100),
    "a description that is something else": lambda entry: (entry / "entry.json").write_text("[1]"),
    "another format": lambda entry: replace(entry, '"format": "1 ', '"format": "0 '),
    "another key": lambda entry: replace(entry, '"key": "a"', '"key": "b"'),
    "an unknown type": lambda entry: replace(entry, "float32", "load"),
    "another type": lambda entry: replace(entry, "float32", "float64"),
    "fewer rows": lambda entry: replace(entry, '"rows": 4', '"rows": 3'),
    "a path out of the entry": lambda entry: replace(entry, '"0.bin"', '"../../x"'),
}


def replace(entry: Path, old: str, new: str) -> None:
    text = (entry / "entry.json").read_text()
    assert old in text
    (entry / "entry.json").write_text(text.replace(old, new))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_dropped_and_told(tmp_path: Path, damage: str) -> None:
    cache = FeatureCache(DISK, tmp_path)
    fill(cache, "a")
    cache.clear()
    DAMAGES[damage](tmp_path / name_of("a"))
    assert len(cache.entries()) == 1, "damaged ones are listed"
    assert cache.find("a") is None
    assert not list(tmp_path.iterdir())
    (warning,) = cache.warnings()
    assert warning.startswith(f"kept features {name_of('a')[:12]} are damaged (")
    assert cache.warnings() == []
    assert right(fill(cache, "a"))
    cache.clear()
    assert right(cache.find("a"))


def test_of_large_files_blocks_are_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unfreeze.stack import shelf

    monkeypatch.setattr(shelf, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(shelf, "BLOCK_BYTES", 16)
    monkeypatch.setattr(shelf, "BLOCKS", 20)
    path = tmp_path / "file"
    path.write_bytes(bytes(4000))
    before = shelf.digest(path)
    for place in (0, 3999):
        change(tmp_path, "file", place)
        assert shelf.digest(path) != before, "the first and the last block are among them"
        change(tmp_path, "file", place)
    change(tmp_path, "file", 100)
    assert shelf.digest(path) == before
    path.write_bytes(bytes(2000) + b"1" * 2000)
    assert shelf.digest(path) != before


def test_an_entry_that_goes_while_it_is_opened_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(DISK, tmp_path)
    fill(cache, "a")
    cache.clear()
    opened = Shelf.open

    def open_and_remove(self: Shelf, key: str) -> object:
        found = opened(self, key)
        self.remove(key)
        return found

    monkeypatch.setattr(Shelf, "open", open_and_remove)
    assert cache.find("a") is None
    assert cache.warnings() == []
