"""L2-SP: its gradient against autograd, and a starting point that survives interruptions and a moving frontier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unfreeze.methods import Phase
from unfreeze.stack.groups import GroupPattern, build_stack
from unfreeze.train.hooks import LoopState
from unfreeze.train.l2_sp import StartingPoint

HEAD = Phase(name="head", learn=("head",), epochs=1)
ALL = Phase(name="all", learn=("stem", "head"), epochs=1)
STRENGTH = 0.3


def loop_state(phase: Phase) -> LoopState:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    stack = build_stack(module, [GroupPattern("stem", r"[01]\."), GroupPattern("head", r"2\.")])
    return LoopState(stack=stack, working=stack, phase=phase)


def parameters(loop: LoopState) -> dict[str, nn.Parameter]:
    return dict(loop.stack.module.named_parameters())


@torch.no_grad()
def moved(loop: LoopState) -> None:
    for parameter in loop.stack.module.parameters():
        parameter.add_(torch.randn(parameter.shape))


def data_loss(loop: LoopState) -> Tensor:
    return loop.stack.module(torch.linspace(0, 1, 12).view(4, 3)).square().sum()


def gradients(loop: LoopState) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in parameters(loop).items() if p.grad is not None}


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    loop, hook = loop_state(ALL), StartingPoint(STRENGTH)
    start = {name: parameter.detach().clone() for name, parameter in parameters(loop).items()}
    hook.before_phase(loop)
    moved(loop)
    data_loss(loop).backward()
    hook.after_backward(loop)
    found = gradients(loop)
    loop.stack.module.zero_grad()
    distance = sum((p - start[name]).square().sum() for name, p in parameters(loop).items() if name[0] != "2")
    (data_loss(loop) + STRENGTH / 2 * distance).backward()
    for name, expected in gradients(loop).items():
        torch.testing.assert_close(found[name], expected)


def test_the_head_and_what_has_no_gradient_are_left_alone() -> None:
    loop, hook = loop_state(ALL), StartingPoint(STRENGTH)
    hook.before_phase(loop)
    moved(loop)
    for name, parameter in parameters(loop).items():
        parameter.grad = None if name.startswith("1.") else torch.zeros_like(parameter)
    hook.after_backward(loop)
    found = gradients(loop)
    assert set(found) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert found["0.weight"].abs().sum() > 0
    assert found["2.weight"].abs().sum() == 0


def test_a_group_starts_where_it_stood_when_it_first_learned() -> None:
    loop, hook = loop_state(HEAD), StartingPoint(STRENGTH)
    hook.before_phase(loop)
    assert hook.state() == {}
    loop.phase, loop.phase_index = ALL, 1
    stem = parameters(loop)["0.weight"].detach().clone()
    hook.before_phase(loop)
    moved(loop)
    hook.before_phase(loop)
    assert torch.equal(hook.state()["0.weight"], stem)


def test_a_resumed_run_knows_where_it_started() -> None:
    loop, first = loop_state(ALL), StartingPoint(STRENGTH)
    first.before_phase(loop)
    moved(loop)
    second = StartingPoint(STRENGTH)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.before_phase(loop)
    pulls = []
    for hook in (first, second):
        for parameter in loop.stack.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        hook.after_backward(loop)
        pulls.append(gradients(loop))
    assert all(torch.equal(pulls[0][name], pulls[1][name]) for name in pulls[0])
    addresses = {parameter.data_ptr() for parameter in loop.stack.module.parameters()}
    assert not addresses & {tensor.data_ptr() for tensor in first.state().values()}
