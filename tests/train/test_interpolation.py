"""Between before and after: both ends to the bit, what is proposed in which order, and what an interruption keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfreeze.methods import Phase
from unfreeze.stack.groups import GroupPattern, build_stack
from unfreeze.train.hooks import LoopState
from unfreeze.train.interpolation import GRID, Interpolation

HEAD = Phase(name="probe", learn=("head",), epochs=1)
ALL = Phase(name="all", learn=("stem", "head"), epochs=1)


def loop_state() -> LoopState:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    stack = build_stack(module, [GroupPattern("stem", r"[01]\."), GroupPattern("head", r"2\.")])
    return LoopState(stack=stack, working=stack)


def tensors(loop: LoopState) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in loop.stack.module.state_dict().items()}


@torch.no_grad()
def train(hook: Interpolation, loop: LoopState, phase: Phase, index: int, scores: list[float | None]) -> None:
    """A phase with an epoch for each score; what learns moves at random."""
    loop.phase, loop.phase_index = phase, index
    hook.before_phase(loop)
    for number, score in enumerate(scores):
        draw = torch.Generator().manual_seed(100 * index + number)
        for name in phase.learn:
            group = loop.stack.group(name)
            for _, tensor in (*loop.stack.parameters(group), *loop.stack.buffers(group)):
                tensor.add_(torch.randn(tensor.shape, generator=draw) if tensor.is_floating_point() else 1)
        loop.validation = {} if score is None else {"accuracy": score}
        loop.score = -1.0 if score is None else score
        hook.after_evaluation(loop)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def trained(
    scores: list[float | None], alpha: float | None = None
) -> tuple[Interpolation, LoopState, dict[str, Tensor]]:
    hook, loop = Interpolation(alpha), loop_state()
    train(hook, loop, HEAD, 0, [0.1, 0.2])
    start = tensors(loop)
    train(hook, loop, ALL, 1, scores)
    return hook, loop, start


def test_the_ends_are_those_of_the_last_phase_to_the_bit() -> None:
    hook, loop, start = trained([0.3, 0.6])
    end = tensors(loop)
    assert same(hook.at(0.0), start)
    assert same(hook.at(1.0), end)
    middle = hook.at(0.5)
    for name in ("0.weight", "1.running_var", "2.bias"):
        torch.testing.assert_close(middle[name], (start[name] + end[name]) / 2)
    assert middle["1.num_batches_tracked"] == end["1.num_batches_tracked"]


def test_the_upper_end_is_the_best_epoch_of_the_phase_the_later_of_equals() -> None:
    hook, loop, _ = trained([0.9, 0.9])
    best = tensors(loop)
    train_on = Phase(name="all", learn=ALL.learn, epochs=1)
    loop.phase = train_on
    train(hook, loop, train_on, 1, [0.2])
    assert same(hook.at(1.0), best)
    assert not same(tensors(loop), best)


def test_without_validation_the_upper_end_is_the_last_epoch() -> None:
    hook, loop, _ = trained([None, None, None])
    assert same(hook.at(1.0), tensors(loop))


def test_proposals_begin_in_the_middle_and_the_ends_are_not_mixed() -> None:
    hook, loop, start = trained([0.5])
    proposed = list(hook.proposals(loop))
    assert proposed[0].name == "alpha 0.5"
    assert sorted(float(each.name.removeprefix("alpha ")) for each in proposed) == list(GRID)
    assert {each.name: each.mixed for each in proposed if not each.mixed} == {"alpha 0": False, "alpha 1": False}
    assert same(dict(next(each for each in proposed if each.name == "alpha 0").tensors), start)
    fixed, loop, _ = trained([0.5], alpha=0.3)
    assert [each.name for each in fixed.proposals(loop)] == ["alpha 0.3"]


def test_nothing_is_proposed_before_an_epoch_has_ended() -> None:
    hook, loop = Interpolation(), loop_state()
    loop.phase = ALL
    hook.before_phase(loop)
    assert list(hook.proposals(loop)) == []


def test_statistics_that_were_estimated_are_part_of_the_mixture() -> None:
    hook, loop, _ = trained([0.5])
    proposal = next(each for each in hook.proposals(loop) if each.name == "alpha 0.4")
    with torch.no_grad():
        dict(loop.stack.module.named_buffers())["1.running_mean"].fill_(7.0)
    hook.judged(loop, proposal, {"accuracy": 0.8})
    hook.chosen(loop, proposal)
    assert hook.at(0.4)["1.running_mean"].tolist() == [7.0] * 3
    assert not torch.equal(hook.at(0.3)["1.running_mean"], torch.full((3,), 7.0))
    assert (hook.curve, hook.taken) == ([(0.4, {"accuracy": 0.8})], 0.4)


@pytest.mark.parametrize("cut", range(4))
def test_interrupted_is_uninterrupted(cut: int) -> None:
    def steps(hook: Interpolation, loop: LoopState) -> Iterator[Any]:
        yield train(hook, loop, HEAD, 0, [0.4])
        yield train(hook, loop, ALL, 1, [0.5])
        loop.phase = ALL
        yield train(hook, loop, ALL, 1, [0.7])
        yield train(hook, loop, ALL, 1, [0.6])

    whole, loop = Interpolation(), loop_state()
    list(steps(whole, loop))
    again, other = Interpolation(), loop_state()
    for number, _ in enumerate(steps(again, other)):
        if number == cut:
            state = {name: tensor.clone() for name, tensor in again.state().items()}
            addresses = {tensor.data_ptr() for tensor in other.stack.module.state_dict().values()}
            assert not addresses & {tensor.data_ptr() for tensor in again.state().values()}
            again.__init__()  # type: ignore[misc]  # the same object, since the steps hold it
            again.restore(state)
    assert same(whole.state(), again.state())
