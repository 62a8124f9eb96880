"""Checkpoints: tensors as safetensors, the rest as JSON, checksums over both, atomic by renaming.

A checkpoint is one folder `checkpoints/step-00000123`. It appears by a rename, so it is whole or absent;
its checksums tell later damage, and then the one before it is used. The two newest are kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unfreeze.errors import CheckpointError
from unfreeze.train.files import file_sha256, full_disk_said, read_json, write_json

KEEP = 2
FILES = ("tensors.safetensors", "values.json")


@dataclass(frozen=True)
class Checkpoint:
    """What training needs to continue: `tensors` by dotted name, `values` as plain JSON."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and drop all but the newest two.

    Raises
    ------
    UnfreezeError
        If the disk is full; earlier checkpoints stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".writing-{step:08d}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with full_disk_said(final):
            temporary.mkdir()
            _save_tensors(temporary / "tensors.safetensors", checkpoint.tensors)
            write_json(temporary / "values.json", checkpoint.values)
            sums = {name: file_sha256(temporary / name) for name in FILES}
            write_json(temporary / "sha256.json", sums)
            _sync(temporary)
            shutil.rmtree(final, ignore_errors=True)
            temporary.replace(final)
            _sync(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _newest_first(folder)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def load_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]] | None:
    """The newest undamaged checkpoint, with a line for each damaged one; None if there never was any.

    Raises
    ------
    CheckpointError
        If there are checkpoints and all are damaged.
    """
    complaints: list[str] = []
    for path in _newest_first(folder):
        problem = _damage(path)
        if problem is None:
            return Checkpoint(load_file(path / "tensors.safetensors"), read_json(path / "values.json")), complaints
        complaints.append(f"{path.name} is damaged ({problem}); using the one before it")
    if complaints:
        raise CheckpointError(f"Every checkpoint in '{folder}' is damaged: {'; '.join(complaints)}.")
    return None


def flatten(prefix: str, state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimizer's state dict into tensors (by dotted name) and plain values."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{index}.{name}"] = value
            else:
                numbers[f"{index}.{name}"] = value
    return tensors, {"numbers": numbers, "param_groups": state["param_groups"]}


def unflatten(prefix: str, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    state: dict[int, dict[str, Any]] = {}
    named = {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
    for name, value in (*named.items(), *values["numbers"].items()):
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": values["param_groups"]}


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Without copies, which would double what training takes; only tensors that share memory need their own."""
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        here = tensor.detach().to("cpu").contiguous()
        place = here.untyped_storage().data_ptr()
        plain[name] = here.clone() if place in seen else here
        seen.add(place)
    save_file(plain, path)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _damage(path: Path) -> str | None:
    try:
        sums = read_json(path / "sha256.json")
        wrong = [name for name in FILES if file_sha256(path / name) != sums[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return type(error).__name__
    return f"the checksum of {wrong[0]} does not match" if wrong else None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that later training does not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def as_tensor(value: float) -> Tensor:
    """A float that survives a checkpoint bit for bit."""
    return torch.tensor(value, dtype=torch.float64)
