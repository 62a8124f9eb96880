"""A stack refuses what its patterns do not name, orders by number and knows tied weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.stack.groups import GroupPattern, build_stack

PATTERNS = [
    GroupPattern("stem", r"stem\."),
    GroupPattern("block {}", r"blocks\.(\d+)\."),
    GroupPattern("head", r"head\."),
]


class Deep(nn.Module):
    def __init__(self, blocks: int = 12) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(blocks))
        self.stem = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_groups_come_in_the_patterns_order_and_blocks_by_number() -> None:
    stack = build_stack(Deep(), PATTERNS)
    assert stack.names == ("stem", *(f"block {number}" for number in range(12)), "head")
    assert stack.group("stem").buffers == ("stem.running_mean", "stem.running_var", "stem.num_batches_tracked")
    assert stack.size(stack.group("block 3")) == 6
    assert [name for name, _ in stack.modules(stack.group("block 11"))] == ["blocks.11"]


def test_a_parameter_or_buffer_that_no_pattern_names_is_refused() -> None:
    module = Deep()
    module.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ModelError, match="1 parameters or buffers belong to no layer group, for example extra"):
        build_stack(module, PATTERNS)
    module = Deep()
    module.register_buffer("scale", torch.ones(1))
    with pytest.raises(ModelError, match="scale"):
        build_stack(module, PATTERNS)


def test_tied_weights_are_held_once_and_named() -> None:
    module = Deep(2)
    module.blocks[1].weight = module.blocks[0].weight
    stack = build_stack(module, PATTERNS)
    assert stack.tied == {"blocks.1.weight": "blocks.0.weight"}
    held = [name for group in stack.groups for name in group.parameters]
    assert held.count("blocks.0.weight") == 1
    assert "blocks.1.weight" not in held


def test_the_first_pattern_that_matches_wins() -> None:
    special = [GroupPattern("last block", r"blocks\.11\."), *PATTERNS]
    assert build_stack(Deep(), special).names[0] == "last block"
