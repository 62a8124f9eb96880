from __future__ import annotations

import pytest
import torch
from torch import nn

from unfreeze.optim.groups import parameter_groups
from unfreeze.optim.optimizers.lion import Lion
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.wide = nn.LayerNorm((4, 2))
        self.head = nn.Linear(4, 2)


@pytest.fixture
def stack() -> LayerStack:
    patterns = [GroupPattern("stem", "stem|norm"), GroupPattern("wide", "wide"), GroupPattern("head", "head")]
    return build_stack(Net(), patterns)


def test_every_parameter_is_in_exactly_one_group_in_the_stacks_order(stack: LayerStack) -> None:
    groups = parameter_groups(stack, 0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in stack.module.named_parameters())
    assert [group["group"] for group in groups] == ["stem", "stem", "wide", "head", "head"]
    parameters = dict(stack.module.named_parameters())
    for group in groups:
        assert all(parameters[n] is p for n, p in zip(group["names"], group["params"], strict=True))


def test_only_matrices_and_filters_outside_norms_decay(stack: LayerStack) -> None:
    decays = {name for group in parameter_groups(stack, 0.1) if group["weight_decay"] for name in group["names"]}
    assert decays == {"stem.weight", "head.weight"}


def test_frozen_parameters_are_there_too(stack: LayerStack) -> None:
    stack.module.requires_grad_(False)
    assert len(parameter_groups(stack, 0.1)) == 5


def test_lion_is_the_papers_update() -> None:
    value, momentum = torch.tensor([1.0, -2.0, 3.0]), torch.zeros(3)
    parameter = nn.Parameter(value.clone())
    optimizer = Lion([parameter], lr=0.1, weight_decay=0.5)
    for gradient in (torch.tensor([1.0, -1.0, 0.5]), torch.tensor([-30.0, 0.01, 0.0])):
        parameter.grad = gradient.clone()
        optimizer.step()
        update = torch.sign(0.9 * momentum + 0.1 * gradient)
        value = value - 0.1 * (update + 0.5 * value)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(parameter.detach(), value)
