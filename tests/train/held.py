"""A small network over given numbers, for the techniques that hold features or weights where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.methods import Phase
from unfreeze.models.head import Head
from unfreeze.stack.groups import GroupPattern, build_stack
from unfreeze.train.hooks import LoopState

INPUTS, WIDTH = 3, 5
HEAD = Phase(name="head", learn=("head",), epochs=1)
ALL = Phase(name="all", learn=("stem", "block 0", "head"), epochs=1)
TOP = Phase(name="top", learn=("block 0", "head"), epochs=1)


@dataclass
class Numbers:
    """Rows of numbers, read as a feed is."""

    values: Tensor
    pipeline: Any = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> list[int]:
        return [1] * len(self)

    @property
    def bytes_at_most(self) -> int:
        return self.values.numel() * 4

    def batch(self, rows: Sequence[int], epoch: int | None = None) -> dict[str, Tensor]:
        return {"input": self.values[list(rows)]}


def numbers(rows: int, seed: int = 1, pipeline: Any = None) -> Any:
    return Numbers(torch.randn(rows, INPUTS, generator=torch.Generator().manual_seed(seed)), pipeline)


def loop_state(phase: Phase = ALL, seed: int = 0, body: nn.Module | None = None) -> LoopState:
    """A linear stem, a block with BatchNorm and dropout, and a head."""
    torch.manual_seed(seed)
    block = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Dropout(0.5), nn.Linear(WIDTH, WIDTH), nn.Tanh())
    module = nn.Sequential(nn.Linear(INPUTS, WIDTH), block if body is None else body, Head(WIDTH, 2))
    patterns = [GroupPattern("stem", r"0\."), GroupPattern("block 0", r"1\."), GroupPattern("head", r"2\.")]
    stack = build_stack(module, patterns)
    for group in stack.groups:
        for _, parameter in stack.parameters(group):
            parameter.requires_grad_(group.name in phase.learn)
    return LoopState(stack=stack, working=stack, phase=phase)


def body_of(loop: LoopState) -> nn.Module:
    """Everything below the head."""
    assert isinstance(loop.stack.module, nn.Sequential)
    return loop.stack.module[:2]


@torch.no_grad()
def moved(loop: LoopState, by: float = 0.3, seed: int = 7) -> None:
    """Push every parameter that learns."""
    torch.manual_seed(seed)
    for parameter in loop.stack.module.parameters():
        if parameter.requires_grad:
            parameter.add_(by * torch.randn(parameter.shape))


def gradients(loop: LoopState) -> dict[str, Tensor]:
    named = loop.stack.module.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}
