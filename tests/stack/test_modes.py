"""What learns is in training mode, everything else in eval mode, and no stale gradient survives a moved frontier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unfreeze.stack.frontier import frontier, set_learning, set_modes
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack

PATTERNS = [
    GroupPattern("stem", r"stem\."),
    GroupPattern("block {}", r"blocks\.(\d+)\."),
    GroupPattern("head", r"head\."),
]


class Toy(nn.Module):
    """A dropout that belongs to no group stands between the stem and the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.between = nn.Dropout(0.5)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)) for _ in range(2))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.between(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x)  # type: ignore[no-any-return]


def a_stack() -> LayerStack:
    torch.manual_seed(0)
    return build_stack(Toy(), PATTERNS)


def training(stack: LayerStack) -> set[str]:
    return {name for name, module in stack.module.named_modules() if name and module.training}


def test_the_frontier_is_the_lowest_group_that_learns() -> None:
    names = a_stack().names
    assert names == ("stem", "block 0", "block 1", "head")
    assert [frontier(names, learn) for learn in (("head",), ("block 0", "head"), names, ())] == [3, 1, 0, 4]


def test_frozen_groups_and_what_stands_between_them_are_in_eval_mode() -> None:
    stack = a_stack()
    stack.module.train()
    set_modes(stack, ("block 1", "head"))
    assert training(stack) == {"blocks.1", "blocks.1.0", "head"} | ({"blocks.1.1"} & training(stack))
    assert not stack.module.training
    assert not stack.module.get_submodule("between").training


def test_everything_trains_when_the_lowest_group_does() -> None:
    stack = a_stack()
    stack.module.eval()
    set_modes(stack, stack.names)
    assert stack.module.training
    assert {"between", "stem.1", "blocks.0", "head"} <= training(stack)


def test_only_the_groups_that_learn_require_gradients_and_old_ones_are_dropped() -> None:
    stack = a_stack()
    set_learning(stack, stack.names)
    stack.module(torch.randn(3, 4)).sum().backward()
    set_learning(stack, ("head",))
    named = dict(stack.module.named_parameters())
    assert {name for name, parameter in named.items() if parameter.requires_grad} == {"head.weight", "head.bias"}
    assert all(parameter.grad is None for parameter in named.values())


def test_outputs_below_the_frontier_are_a_function_of_the_input() -> None:
    stack = a_stack()
    set_modes(stack, ("head",))
    rows = torch.randn(5, 4)
    assert torch.equal(stack.module(rows), stack.module(rows))
    set_modes(stack, stack.names)
    assert not torch.equal(stack.module(rows), stack.module(rows))
