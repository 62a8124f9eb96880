"""Promise 6: what is left out is written down, the user's files are not touched, a full disk costs nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import finish, start
from small import essence, fit_images, fit_text, read_table, resume, table, tree_hashes, write_table

from unfreeze.errors import DataError, UnfreezeError
from unfreeze.train import checkpoint
from unfreeze.train.files import read_json

OPTIONS: dict[str, Any] = {"epochs": 3, "checkpoint_steps": 3}


def test_every_row_is_either_used_or_in_quarantine_with_a_reason(home: Path, tmp_path: Path) -> None:
    rows = read_table(table(tmp_path / "table.csv"))
    odd = [("", "bank", "train"), ("no answer is given here", "", "train"), (*rows[0][:2], "train")]
    odd += [("this one goes nowhere at all", "film", "elsewhere"), ("a label seen only once or twice", "rare", "train")]
    write_table(tmp_path / "table.csv", [*rows, *odd])
    run = fit_text(home, tmp_path / "run", data=tmp_path / "table.csv", epochs=1)
    left_out = [json.loads(line) for line in (run.path / "quarantine.jsonl").read_text().splitlines()]
    assert len(left_out) == run.manifest.quarantined == len(odd)
    assert sum(run.manifest.rows.values()) + len(left_out) == len(rows) + len(odd)
    assert all(row["reason"] and "table.csv" in row["origin"] for row in left_out)
    lines = {int(row["origin"].rsplit(" ", 1)[1]) for row in left_out}
    assert lines == set(range(len(rows) + 2, len(rows) + 2 + len(odd)))


def test_broken_pictures_are_left_out_and_named(home: Path, tmp_path: Path) -> None:
    (home / "pictures" / "red" / "broken.png").write_bytes(b"no picture")
    (home / "pictures" / "red" / "empty.png").touch()
    try:
        run = fit_images(home, tmp_path / "run")
    finally:
        for name in ("broken", "empty"):
            (home / "pictures" / "red" / f"{name}.png").unlink()
    left_out = [json.loads(line) for line in (run.path / "quarantine.jsonl").read_text().splitlines()]
    assert sorted(Path(row["origin"].split(",")[0]).name for row in left_out) == ["broken.png", "empty.png"]


def test_what_the_user_gave_is_not_touched(home: Path, tmp_path: Path) -> None:
    before = tree_hashes(home)
    fit_text(home, tmp_path / "text", method="full", epochs=1)
    fit_images(home, tmp_path / "images", method="full", epochs=1)
    with pytest.raises(DataError):
        fit_text(home, tmp_path / "wrong", min_per_class=1000)
    assert tree_hashes(home) == before


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_text(home, tmp_path_factory.mktemp("whole") / "run", **OPTIONS).path


def no_space(after: int) -> Any:
    """os.fsync that works so many times and then finds the disk full."""
    sync, count = os.fsync, [0]

    def full(descriptor: int) -> None:
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    return full


@pytest.mark.parametrize("after", [3, 5, 8, 12, 17, 30, 34])
def test_a_disk_that_fills_up_says_so_and_the_run_goes_on_later(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, after: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", no_space(after))
        with pytest.raises(UnfreezeError, match=r"The disk is full.*unfreeze resume"):
            fit_text(home, tmp_path / "run", **OPTIONS)
    assert not (tmp_path / "run" / "result.json").exists()
    resume(tmp_path / "run")
    assert essence(tmp_path / "run") == essence(whole)


def test_tensors_that_do_not_fit_say_so(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    from safetensors import SafetensorError

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UnfreezeError, match="The disk is full"):
            fit_text(home, tmp_path / "run", **OPTIONS)
    resume(tmp_path / "run")
    assert essence(tmp_path / "run") == essence(whole)


@pytest.fixture
def small_disk(home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, int]]:
    """A file system of its own in memory, and how much a run with the options of the parameter writes into it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4m", "unfreeze-test", str(folder)], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"mounting a small file system is not possible here: {error}")
    if done.returncode:
        pytest.skip(f"mounting a small file system is not possible here: {done.stderr.strip()}")
    try:
        before = free(folder)
        fit_text(home, folder / "run", **request.param)
        needed = before - free(folder)
        shutil.rmtree(folder / "run")
        yield folder, needed
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def free(folder: Path) -> int:
    """Bytes that can still be written."""
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def fill(folder: Path, leave: int) -> None:
    """Take all space but so many bytes."""
    (folder / "ballast").write_bytes(b"0" * (free(folder) - leave))


@pytest.mark.parametrize("share", [0.0, 0.09, 0.15, 0.4, 0.65, 0.75, 0.83, 0.9, 0.96])
@pytest.mark.parametrize("small_disk", [OPTIONS | {"checkpoint_steps": None}], indirect=True, ids=[""])
def test_a_disk_that_is_really_full(home: Path, small_disk: tuple[Path, int], whole: Path, share: float) -> None:
    """With room for a share of what a run without checkpoints writes: from its recipe to its last status."""
    folder, needed = small_disk
    stopped_by_full_disk(home, folder, int(share * needed), OPTIONS | {"checkpoint_steps": None})
    assert essence(folder / "run") == essence(whole)


@pytest.mark.parametrize("small_disk", [OPTIONS], indirect=True, ids=[""])
def test_checkpoints_fill_the_disk(home: Path, small_disk: tuple[Path, int], whole: Path) -> None:
    folder, _ = small_disk
    for kilobytes in (20, 200, 360):
        stopped_by_full_disk(home, folder, kilobytes * 1024, OPTIONS)
        assert essence(folder / "run") == essence(whole)


def stopped_by_full_disk(home: Path, folder: Path, leave: int, options: dict[str, Any]) -> None:
    """Fit on a full disk, then with space again."""
    output = folder / "run"
    fill(folder, leave)
    with pytest.raises(UnfreezeError, match=r"The disk is full: .* could not be written"):
        fit_text(home, output, **{**options, "overwrite": True})
    (folder / "ballast").unlink()
    if (output / "status.json").exists():
        resume(output)
    else:
        fit_text(home, output, **options)


def fit_with_small_files(home: Path, output: Path, options: dict[str, Any], limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    fit_text(home, output, **options)


@pytest.mark.parametrize("limit", [6_000, 60_000])
def test_a_limit_on_the_size_of_files_costs_nothing_either(home: Path, tmp_path: Path, whole: Path, limit: int) -> None:
    assert finish(start(fit_with_small_files, home, tmp_path / "run", OPTIONS, limit)) != 0
    assert read_json(tmp_path / "run" / "status.json")["status"] != "finished"
    assert not (tmp_path / "run" / "result.json").exists()
    resume(tmp_path / "run")
    assert essence(tmp_path / "run") == essence(whole)
