"""Features that are held where they were: the formula, phases with nothing to hold, interruptions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from held import ALL, HEAD, TOP, WIDTH, body_of, gradients, loop_state, moved, numbers
from torch import Tensor

from unfreeze.train.feature_distillation import FeatureDistillation
from unfreeze.train.hooks import LoopState
from unfreeze.train.matching import distances, spread

STRENGTH, ROWS = 2.0, [4, 1, 7]


def ready(loop: LoopState, pipeline: Any = None) -> FeatureDistillation:
    hook = FeatureDistillation(STRENGTH, numbers(12, pipeline=pipeline), batch_size=5)
    hook.before_phase(loop)
    return hook


def term_of(loop: LoopState, hook: FeatureDistillation, rows: list[int] = ROWS) -> Tensor | None:
    hook.before_step(loop)
    loop.stack.module(hook.feed.values[rows])
    return hook.term(loop, rows)


def wanted() -> Tensor:
    loop = loop_state()
    return body_of(loop).eval()(numbers(12).values).detach()


def test_a_row_as_far_off_as_the_mean_is_one_spread_away() -> None:
    some = torch.randn(50, WIDTH)
    assert distances(some.mean(dim=0).expand(50, -1), some, spread(some)).mean() == pytest.approx(1.0)
    assert distances(3 * some, 3 * some + 1, spread(3 * some))[0] == pytest.approx(WIDTH / (9 * spread(some)), rel=1e-4)


def test_the_term_is_the_distance_of_the_formula() -> None:
    loop = loop_state()
    loop.stack.module.eval()
    hook = ready(loop)
    start = term_of(loop, hook)
    assert start is not None
    assert float(start.detach()) == pytest.approx(0, abs=1e-6), "nothing has moved"
    moved(loop)
    found = term_of(loop, hook)
    assert found is not None
    now, then = body_of(loop)(hook.feed.values[ROWS]), wanted()
    expected = STRENGTH * (now - then[ROWS]).square().sum(dim=1).mean() / spread(then)
    torch.testing.assert_close(found, expected)
    found.backward()
    assert gradients(loop)["0.weight"].abs().sum() > 0
    assert "2.weight" not in gradients(loop), "the head takes no part"


def test_where_only_the_head_learns_there_is_nothing_to_hold() -> None:
    loop = loop_state(HEAD)
    hook = ready(loop)
    assert hook.state() == {}
    loop.stack.module.eval()
    assert term_of(loop, hook) is None
    moved(loop)
    loop.phase = ALL
    hook.before_phase(loop)
    torch.testing.assert_close(hook.state()["features"], wanted())


def test_augmented_rows_are_read_again_as_they_are() -> None:
    """The network has read something else: the term comes from the rows themselves, in eval mode, all at once."""
    loop = loop_state()
    hook = ready(loop, pipeline=object())
    moved(loop)
    loop.stack.module.train()
    statistics = loop.stack.module[1][0].running_mean.clone()
    hook.before_step(loop)
    assert hook.term(loop, ROWS[:2]) is None
    assert hook.term(loop, ROWS[2:]) is None
    hook.after_backward(loop)
    found = gradients(loop)
    assert torch.equal(loop.stack.module[1][0].running_mean, statistics)
    assert all(module.training for module in loop.stack.module.modules())
    loop.stack.module.zero_grad()
    loop.stack.module.eval()
    then = wanted()
    now = body_of(loop)(hook.feed.values[ROWS])
    (STRENGTH * (now - then[ROWS]).square().sum(dim=1).mean() / spread(then)).backward()
    expected = gradients(loop)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)
    hook.after_backward(loop)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in gradients(loop).items()), "rows are used once"


def test_passes_that_failed_leave_nothing() -> None:
    for pipeline in (None, object()):
        loop = loop_state()
        hook = ready(loop, pipeline)
        moved(loop)
        term_of(loop, hook, [0, 2])
        hook.retry(loop)
        hook.after_backward(loop)
        assert gradients(loop) == {}
        hook.before_step(loop)
        loop.stack.module(hook.feed.values[ROWS])
        term = hook.term(loop, ROWS)
        hook.after_backward(loop)
        assert not hook._features
        assert (term is None) == (pipeline is not None)
        assert not any(module._forward_hooks for module in loop.stack.module.modules())


def test_frozen_groups_get_no_gradient() -> None:
    loop = loop_state(TOP)
    hook = ready(loop, pipeline=object())
    moved(loop)
    hook.term(loop, ROWS)
    hook.after_backward(loop)
    assert {name.split(".")[0] for name in gradients(loop)} == {"1"}


def test_a_resumed_run_holds_the_same_features() -> None:
    loop = loop_state()
    first = ready(loop)
    moved(loop)
    second = FeatureDistillation(STRENGTH, numbers(12), batch_size=5)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    second.before_phase(loop)
    assert torch.equal(second.state()["features"], first.state()["features"])
    loop.stack.module.eval()
    one, other = term_of(loop, first), term_of(loop, second)
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)
    assert float(one.detach()) > 0
