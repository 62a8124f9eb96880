"""Digests notice every change of a group's parameters and buffers, and name the group."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from unfreeze.errors import FrozenMovedError
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack
from unfreeze.stack.ledger import check_frozen, group_digests, tensor_digest


def a_stack() -> LayerStack:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return build_stack(module, [GroupPattern("stem", r"[01]\."), GroupPattern("head", r"2\.")])


def nudge(name: str) -> Callable[[nn.Module], None]:
    def apply(module: nn.Module) -> None:
        with torch.no_grad():
            tensor = module.state_dict()[name]
            tensor.view(-1)[-1] += 1 if not tensor.is_floating_point() else 1e-7

    return apply


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "1.weight", "1.running_mean", "1.num_batches_tracked"])
def test_the_smallest_change_is_noticed(name: str) -> None:
    stack = a_stack()
    before = group_digests(stack, ["stem"])
    check_frozen(stack, before, "probe")
    with torch.no_grad():
        stack.module.state_dict()["0.bias"].zero_()
    before = group_digests(stack, ["stem"])
    nudge(name)(stack.module)
    with pytest.raises(FrozenMovedError, match="In phase 'probe' frozen layer groups changed: stem"):
        check_frozen(stack, before, "probe")


def test_what_is_not_frozen_may_change() -> None:
    stack = a_stack()
    before = group_digests(stack, ["stem"])
    nudge("2.weight")(stack.module)
    check_frozen(stack, before, "probe")
    assert set(before) == {"stem"}


def test_digests_follow_type_shape_and_bytes() -> None:
    values = torch.arange(6.0)
    others = [values.double(), values.reshape(2, 3), values.flip(0), -values]
    assert len({tensor_digest(tensor) for tensor in (values, *others)}) == 5
    assert tensor_digest(torch.tensor([0.0])) != tensor_digest(torch.tensor([-0.0]))
    assert tensor_digest(values.reshape(2, 3).T.contiguous()) == tensor_digest(values.reshape(2, 3).T)
    assert tensor_digest(values.bfloat16()) == tensor_digest(values.bfloat16().clone())
