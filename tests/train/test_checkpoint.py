"""Checkpoints: whole or absent, two are kept, damage is found, and an optimizer's state survives bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.errors import CheckpointError
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.train.checkpoint import Checkpoint, flatten, load_checkpoint, save_checkpoint, unflatten


def checkpoint(number: int) -> Checkpoint:
    return Checkpoint({"a.b": torch.full((2, 3), float(number)), "n": torch.tensor(number)}, {"step": number, "x": 0.1})


def loaded(folder: Path) -> Checkpoint:
    found = load_checkpoint(folder)
    assert found is not None
    return found[0]


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none") is None


def test_the_newest_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]
    assert loaded(tmp_path).values == {"step": 100, "x": 0.1}
    assert torch.equal(loaded(tmp_path).tensors["a.b"], torch.full((2, 3), 100.0))


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, checkpoint(1))
    save_checkpoint(tmp_path, 5, checkpoint(2))
    assert loaded(tmp_path).values["step"] == 2


def test_what_a_killed_process_left_half_written_is_not_read(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, checkpoint(5))
    (tmp_path / ".writing-00000009").mkdir()
    (tmp_path / ".writing-00000009" / "tensors.safetensors").write_bytes(b"half")
    assert loaded(tmp_path).values["step"] == 5
    save_checkpoint(tmp_path, 9, checkpoint(9))
    assert loaded(tmp_path).values["step"] == 9
    assert not (tmp_path / ".writing-00000009").exists()


@settings(deadline=None, max_examples=30)
@given(
    place=st.integers(0, 10_000), bit=st.integers(0, 7), name=st.sampled_from(["tensors.safetensors", "values.json"])
)
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int, name: str) -> None:
    folder = tmp_path_factory.mktemp("bits")
    for step in (1, 2):
        save_checkpoint(folder, step, checkpoint(step))
    path = folder / "step-00000002" / name
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    found = load_checkpoint(folder)
    assert found is not None
    assert found[0].values["step"] == 1
    assert found[1] == [f"step-00000002 is damaged (the checksum of {name} does not match); using the one before it"]


def test_all_damaged_is_an_error_that_names_each(tmp_path: Path) -> None:
    for step in (1, 2):
        (save_checkpoint(tmp_path, step, checkpoint(step)) / "values.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"step-00000002 is damaged .*step-00000001 is damaged"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_an_optimizer_continues_bit_for_bit(tmp_path: Path, name: str) -> None:
    def begin() -> tuple[torch.nn.Parameter, torch.nn.Parameter, torch.optim.Optimizer]:
        torch.manual_seed(0)
        one, two = torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.randn(4))
        groups = [
            {"params": [p], "weight_decay": 0.1, "lr": 0.0, "names": [n], "group": n}
            for n, p in (("a", one), ("b", two))
        ]
        return one, two, OPTIMIZERS.get(name).make(groups, 1e-2)

    def step(number: int, one: torch.nn.Parameter, two: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / number
        torch.manual_seed(number)
        one.grad = torch.randn(3, 4)
        two.grad = torch.randn(4) if number > 2 else None  # A group that learns later has no state at first.
        optimizer.step()

    one, two, optimizer = begin()
    for number in (1, 2):
        step(number, one, two, optimizer)
    tensors, values = flatten("optimizer", optimizer.state_dict())
    save_checkpoint(tmp_path, 2, Checkpoint({**tensors, "one": one.detach(), "two": two.detach()}, values))
    for number in (3, 4):
        step(number, one, two, optimizer)

    kept = loaded(tmp_path)
    again, other, resumed = begin()
    with torch.no_grad():
        again.copy_(kept.tensors["one"])
        other.copy_(kept.tensors["two"])
    resumed.load_state_dict(unflatten("optimizer", kept.tensors, kept.values))
    for number in (3, 4):
        step(number, again, other, resumed)
    assert torch.equal(one, again)
    assert torch.equal(two, other)
