"""Distillation: its term against the formula, the right rows, a projection that learns and survives an interruption."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from unfreeze.methods import Phase
from unfreeze.models.head import Head
from unfreeze.stack.groups import GroupPattern, build_stack
from unfreeze.train.distillation import Distillation
from unfreeze.train.hooks import LoopState

ROWS, WIDTH, TEACHER = 12, 5, 7
PHASE = Phase(name="all", learn=("stem", "head"), epochs=1)


def loop_state(seed: int = 0) -> LoopState:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, WIDTH), Head(WIDTH, 2))
    stack = build_stack(module, [GroupPattern("stem", r"0\."), GroupPattern("head", r"1\.")])
    return LoopState(stack=stack, working=stack, phase=PHASE)


def inputs() -> Tensor:
    return torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(1))


def teacher() -> Tensor:
    """What the teacher says of each row: a function of the input, so that it can be learned."""
    return torch.tanh(inputs() @ torch.randn(3, TEACHER, generator=torch.Generator().manual_seed(2))) + 4


def updated(loop: LoopState, hook: Distillation, rows: list[int], lr: float = 0.1) -> float:
    """One update of the network by the term alone, as the loop makes it."""
    hook.before_step(loop)
    loop.stack.module.zero_grad(set_to_none=True)
    loop.stack.module(inputs()[rows])
    term = hook.term(loop, rows)
    assert term is not None
    term.backward()
    hook.after_backward(loop)
    with torch.no_grad():
        for parameter in loop.stack.module.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
    return float(term.detach())


def test_the_term_is_the_cosine_of_the_formula_and_reaches_the_network() -> None:
    loop, hook = loop_state(), Distillation(teacher(), strength=3.0)
    hook.before_phase(loop)
    hook.before_step(loop)
    rows = [4, 1, 7]
    loop.stack.module(inputs()[rows])
    found = hook.term(loop, rows)
    assert found is not None
    assert hook.projection is not None
    centred = teacher() - teacher().mean(dim=0)
    features = loop.stack.module[0](inputs()[rows])
    torch.testing.assert_close(found, 3 * (1 - cosine_similarity(hook.projection(features), centred[rows])).mean())
    found.backward()
    assert loop.stack.module[0].weight.grad.abs().sum() > 0
    assert loop.stack.module[1].weight.grad is None, "the head takes no part"


def test_each_row_has_its_own_teacher() -> None:
    loop, hook = loop_state(), Distillation(teacher())
    hook.before_phase(loop)
    values = []
    for claimed in ([0, 1, 2], [2, 0, 1]):
        hook.before_step(loop)
        loop.stack.module(inputs()[[0, 1, 2]])
        values.append(float(hook.term(loop, claimed).detach()))
        hook.after_backward(loop)
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_the_features_come_to_say_what_the_teacher_says() -> None:
    loop, hook = loop_state(), Distillation(teacher(), lr=0.02)
    hook.before_phase(loop)
    values = [updated(loop, hook, list(range(ROWS))) for _ in range(150)]
    assert values[-1] < 0.1 * values[0]


def test_nothing_is_left_on_the_network() -> None:
    loop, hook = loop_state(), Distillation(teacher())
    before = set(loop.stack.module.state_dict())
    hook.before_phase(loop)
    updated(loop, hook, [0, 1])
    assert set(loop.stack.module.state_dict()) == before
    assert not any(module._forward_hooks for module in loop.stack.module.modules())
    assert not hook._features


def test_the_global_generator_is_left_as_it_was() -> None:
    loop, hook = loop_state(), Distillation(teacher())
    state = torch.get_rng_state()
    hook.before_phase(loop)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interrupted_distillation_is_the_uninterrupted_one() -> None:
    rows = [list(range(6)), list(range(6, ROWS))]
    whole, hook = loop_state(), Distillation(teacher())
    hook.before_phase(whole)
    for number in range(6):
        updated(whole, hook, rows[number % 2])
    part, first = loop_state(), Distillation(teacher())
    first.before_phase(part)
    for number in range(3):
        updated(part, first, rows[number % 2])
    second = Distillation(teacher(), seed=9)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.before_phase(part)
    for number in range(3, 6):
        updated(part, second, rows[number % 2])
    for name, tensor in whole.stack.module.state_dict().items():
        assert torch.equal(part.stack.module.state_dict()[name], tensor), name
    assert all(torch.equal(second.state()[name], tensor) for name, tensor in hook.state().items())
