"""What a method adds becomes layer groups of its own, beside those in which it lies."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unfreeze.errors import ModelError
from unfreeze.stack.additions import Addition
from unfreeze.stack.frontier import frontier, learning_modules, set_learning, set_modes
from unfreeze.stack.gradient_checkpointing import blocks
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack
from unfreeze.stack.replay import prepare_replay

PATTERNS = [GroupPattern("stem", r"stem\."), GroupPattern("block {}", r"blocks\.(\d+)\."), GroupPattern("head", "head")]
SIDE = Addition("side", r"\.side\.")


class Block(nn.Module):
    def __init__(self, side: bool) -> None:
        super().__init__()
        self.one, self.drop, self.two = nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4)
        self.side = nn.Linear(4, 4) if side else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = self.drop(self.one(x))
        if self.side is not None:
            inside = inside + self.side(x)
        return x + self.two(inside)


class Net(nn.Module):
    def __init__(self, sides: tuple[bool, ...] = (True, True)) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList(Block(side) for side in sides)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def stack(*sides: bool) -> LayerStack:
    torch.manual_seed(0)
    return build_stack(Net(sides or (True, True)), PATTERNS, [SIDE])


def test_an_addition_stands_just_below_its_group() -> None:
    made = stack()
    assert made.names == ("stem", "block 0 side", "block 0", "block 1 side", "block 1", "head")
    assert [group.beside for group in made.groups] == ["", "block 0", "", "block 1", "", ""]
    assert made.group("block 1 side").parameters == ("blocks.1.side.weight", "blocks.1.side.bias")
    everything = [name for group in made.groups for name in group.parameters]
    assert sorted(everything) == sorted(name for name, _ in made.module.named_parameters())


def test_the_head_is_never_divided() -> None:
    biases = build_stack(Net((False,)), PATTERNS, [Addition("biases", r"bias$")])
    assert biases.names == ("stem biases", "stem", "block 0 biases", "block 0", "head")


def test_one_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"no parameter below the head matches '\\\.side\\\.' \(side\)"):
        stack(False, False)


def test_it_acts_within_the_whole_block() -> None:
    made = stack()
    assert [name for name, _ in made.surroundings(made.group("block 1 side"))] == ["blocks.1"]
    assert [name for name, _ in made.surroundings(made.group("block 1"))] == ["blocks.1"]
    assert [name for name, _ in made.modules(made.group("block 1"))] == ["blocks.1.one", "blocks.1.two"]
    assert [name for name, _ in learning_modules(made, ["block 1 side", "head"])] == ["blocks.1", "head"]
    assert len(blocks(made)) == 2


def test_what_lies_within_a_frozen_group_stays_in_eval_mode() -> None:
    made = stack()
    learn = ("block 0 side", "block 1 side", "head")
    set_learning(made, learn)
    set_modes(made, learn)
    modes = {name: module.training for name, module in made.module.named_modules() if name}
    assert modes["blocks.0.side"]
    assert modes["head"]
    assert not modes["blocks.0.drop"]
    assert not modes["blocks.0.one"]
    set_modes(made, ("block 0", *learn))
    assert dict(made.module.named_modules())["blocks.0.drop"].training


@pytest.mark.parametrize("learn", [("block 1 side", "head"), ("block 1", "head"), ("block 1 side", "block 1", "head")])
def test_everything_below_the_block_is_replayed(learn: tuple[str, ...]) -> None:
    made = stack(False, True)
    assert made.names[frontier(made.names, learn)].startswith("block 1")
    first, second = {"x": torch.randn(3, 3)}, {"x": torch.randn(2, 3)}
    replay = prepare_replay(made, learn, first, second)
    assert replay.entry_name == "blocks.1"
    made.module.eval()
    assert torch.equal(replay.forward(second, replay.capture(second)), made.module(**second))
