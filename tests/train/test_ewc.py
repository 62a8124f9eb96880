"""Elastic weights: importance against a network where it can be written down, the pull, and what survives."""

from __future__ import annotations

import pytest
import torch
from held import ALL, HEAD, TOP, WIDTH, gradients, loop_state, moved, numbers
from torch import nn

from unfreeze.train.ewc import TOGETHER, ElasticWeights, fisher
from unfreeze.train.matching import spread

STRENGTH = 0.7


def test_importance_is_that_of_a_linear_network() -> None:
    """f = W x + b: every weight of column j has E x_j² / spread, every bias 1 / spread."""
    loop = loop_state(body=nn.Identity())
    feed = numbers(4000)
    feed.values *= torch.tensor([1.0, 3.0, 0.1])
    found = fisher(loop, feed, range(len(feed)), ("stem", "head"), seed=0)
    scale = spread(loop.stack.module[0](feed.values).detach())
    columns = feed.values.square().mean(dim=0) / scale
    assert set(found) == {"0.weight", "0.bias"}, "the head has nothing to keep"
    # A mean of 500 squared draws has a relative standard error of sqrt(2 / 500) = 6 %.
    for row in found["0.weight"]:
        torch.testing.assert_close(row, columns, rtol=0.3, atol=0)
    torch.testing.assert_close(found["0.weight"].mean(dim=0), columns, rtol=0.15, atol=0)
    torch.testing.assert_close(found["0.bias"].mean(), torch.tensor(1 / scale), rtol=0.15, atol=0)


def test_one_row_at_a_time_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row and features that share no weight, a sign squared is 1: nothing is left to chance."""
    monkeypatch.setattr("unfreeze.train.ewc.TOGETHER", 1)
    loop, feed = loop_state(body=nn.Identity()), numbers(6)
    found = fisher(loop, feed, range(6), ("stem",), seed=3)
    scale = spread(loop.stack.module[0](feed.values).detach())
    torch.testing.assert_close(found["0.weight"], (feed.values.square().mean(dim=0) / scale).expand(WIDTH, -1))
    assert TOGETHER > 1


def test_a_weight_that_nothing_depends_on_is_free() -> None:
    loop, feed = loop_state(body=nn.Identity()), numbers(64)
    feed.values[:, 1] = 0
    assert fisher(loop, feed, range(64), ("stem",), seed=0)["0.weight"][:, 1].abs().max() == 0


def test_estimating_leaves_the_network_as_it_was() -> None:
    loop, feed = loop_state(TOP), numbers(40)
    loop.stack.module.train()
    before = {name: tensor.clone() for name, tensor in loop.stack.module.state_dict().items()}
    state = torch.get_rng_state()
    fisher(loop, feed, range(40), ALL.learn, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loop.stack.module.state_dict().items())
    assert all(module.training for module in loop.stack.module.modules())
    assert [p.requires_grad for p in loop.stack.module[0].parameters()] == [False, False]
    assert gradients(loop) == {}


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    loop, hook = loop_state(), ElasticWeights(STRENGTH, numbers(32), ALL.learn, seed=0)
    hook.before_phase(loop)
    start = {name: p.detach().clone() for name, p in loop.stack.module.named_parameters()}
    moved(loop)
    for parameter in loop.stack.module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    hook.after_backward(loop)
    found = gradients(loop)
    loop.stack.module.zero_grad()
    named = dict(loop.stack.module.named_parameters())
    penalty = sum((hook.importance[name] * (named[name] - start[name]).square()).sum() for name in hook.importance)
    (STRENGTH / 2 * penalty).backward()
    for name, expected in gradients(loop).items():
        torch.testing.assert_close(found[name], expected)
    assert found["0.weight"].abs().sum() > 0
    assert found["2.weight"].abs().sum() == 0, "the head is free"


def test_groups_that_learn_later_are_weighed_before_anything_moves() -> None:
    """A first phase of the head alone, then all: importance is of the network before both."""
    late, early = loop_state(HEAD), loop_state(ALL)
    hooks = [ElasticWeights(STRENGTH, numbers(32), ALL.learn, seed=0) for _ in range(2)]
    for loop, hook in zip((late, early), hooks, strict=True):
        hook.before_phase(loop)
    moved(late)
    late.phase = ALL
    hooks[0].before_phase(late)
    assert hooks[0].importance.keys() == hooks[1].importance.keys()
    assert all(torch.equal(hooks[0].importance[name], tensor) for name, tensor in hooks[1].importance.items())
    assert all(torch.equal(hooks[0].start[name], tensor) for name, tensor in hooks[1].start.items())


def test_a_resumed_run_knows_its_importance() -> None:
    loop, first = loop_state(), ElasticWeights(STRENGTH, numbers(32), ALL.learn, seed=0)
    first.before_phase(loop)
    moved(loop)
    second = ElasticWeights(STRENGTH, numbers(32), ALL.learn, seed=0)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.before_phase(loop)
    assert all(torch.equal(second.state()[name], tensor) for name, tensor in first.state().items())
    assert second.state().keys() == first.state().keys()
    addresses = {parameter.data_ptr() for parameter in loop.stack.module.parameters()}
    assert not addresses & {tensor.data_ptr() for tensor in first.state().values()}
