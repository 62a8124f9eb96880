"""The moving average: its values, what it covers, and that it survives interruptions and a moving frontier."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unfreeze.methods import Phase
from unfreeze.stack.groups import GroupPattern, build_stack
from unfreeze.train.ema import ExponentialAverage, decay_at
from unfreeze.train.hooks import LoopState

HEAD = Phase(name="head", learn=("head",), epochs=1)
ALL = Phase(name="all", learn=("stem", "head"), epochs=1)


def loop_state() -> LoopState:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    stack = build_stack(module, [GroupPattern("stem", r"[01]\."), GroupPattern("head", r"2\.")])
    return LoopState(stack=stack, working=stack)


def begin(hook: ExponentialAverage, loop: LoopState, phase: Phase, index: int) -> None:
    loop.phase, loop.phase_index = phase, index
    hook.before_phase(loop)


@torch.no_grad()
def step(hook: ExponentialAverage, loop: LoopState, number: int) -> None:
    """An update: what learns moves in a way that depends on the number only."""
    assert loop.phase is not None
    draw = torch.Generator().manual_seed(number)
    for name in loop.phase.learn:
        group = loop.stack.group(name)
        for _, tensor in (*loop.stack.parameters(group), *loop.stack.buffers(group)):
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=draw))
            else:
                tensor.add_(1)
    hook.after_step(loop)


def tensors(loop: LoopState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in loop.stack.module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def averaged(hook: ExponentialAverage, loop: LoopState) -> dict[str, Tensor]:
    hook.before_evaluation(loop)
    found = tensors(loop)
    hook.after_evaluation(loop)
    return found


def test_the_average_follows_its_recurrence_on_parameters_and_buffers() -> None:
    loop, hook = loop_state(), ExponentialAverage(0.3)
    begin(hook, loop, ALL, 0)
    expected = {name: tensor.double() for name, tensor in tensors(loop).items()}
    for number in range(1, 6):
        step(hook, loop, number)
        decay = min(0.3, (1 + number) / (10 + number))
        for name, tensor in tensors(loop).items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor
    found = averaged(hook, loop)
    for name in ("0.weight", "1.running_mean", "1.running_var", "2.bias"):
        torch.testing.assert_close(found[name].double(), expected[name], rtol=1e-5, atol=1e-6)
    # A count is not averaged.
    assert int(found["1.num_batches_tracked"]) == 5


def test_the_decay_warms_up() -> None:
    decays = [decay_at(number, 0.99) for number in range(1, 2000)]
    assert decays[0] == pytest.approx(2 / 11)
    assert decays == sorted(decays)
    assert decays[-1] == 0.99


def test_evaluation_leaves_the_weights_exactly_as_they_were() -> None:
    loop, hook = loop_state(), ExponentialAverage(0.9)
    begin(hook, loop, ALL, 0)
    step(hook, loop, 1)
    before = tensors(loop)
    hook.before_evaluation(loop)
    assert not same(tensors(loop), before)
    hook.after_evaluation(loop)
    assert same(tensors(loop), before)


def test_frozen_groups_are_left_alone() -> None:
    loop, hook = loop_state(), ExponentialAverage(0.9)
    begin(hook, loop, ALL, 0)
    step(hook, loop, 1)
    begin(hook, loop, HEAD, 1)
    step(hook, loop, 2)
    found, trained = averaged(hook, loop), tensors(loop)
    assert not torch.equal(found["2.weight"], trained["2.weight"])
    assert all(torch.equal(found[name], trained[name]) for name in found if not name.startswith("2."))


@pytest.mark.parametrize("cut", range(7))
def test_interrupted_is_uninterrupted(cut: int) -> None:
    plan = [(HEAD, 0, range(3)), (ALL, 1, range(3, 6))]

    def run(stop: int, loop: LoopState, hook: ExponentialAverage, start: int = 0) -> None:
        for phase, index, numbers in plan:
            if start > numbers[-1] or stop < numbers[0]:
                continue
            begin(hook, loop, phase, index)
            for number in numbers:
                if start <= number < stop:
                    step(hook, loop, number)

    whole_loop, whole = loop_state(), ExponentialAverage(0.9)
    run(6, whole_loop, whole)
    loop, first = loop_state(), ExponentialAverage(0.9)
    run(cut, loop, first)
    second = ExponentialAverage(0.9)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    run(6, loop, second, start=cut)
    if cut == 6:
        begin(second, loop, ALL, 1)
    assert same(averaged(second, loop), averaged(whole, whole_loop))
    assert same(second.state(), whole.state())


def test_its_state_shares_no_memory_with_the_model() -> None:
    loop, hook = loop_state(), ExponentialAverage(0.9)
    begin(hook, loop, ALL, 0)
    addresses = {tensor.data_ptr() for tensor in loop.stack.module.state_dict().values()}
    assert not addresses & {tensor.data_ptr() for tensor in hook.state().values()}
