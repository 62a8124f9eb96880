"""Rehearsal: which rows, how much they weigh, that they hold what was, and what survives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from held import ALL, HEAD, TOP, body_of, gradients, loop_state, moved, numbers
from torch import Tensor

from unfreeze.train.hooks import LoopState
from unfreeze.train.matching import spread
from unfreeze.train.rehearsal import Rehearsal

SOURCE, BATCH = 20, 9


def ready(loop: LoopState, share: float = 0.25, at_a_time: int = 16) -> Rehearsal:
    hook = Rehearsal(share, numbers(SOURCE, seed=2), BATCH, at_a_time, seed=3)
    hook.before_phase(loop)
    return hook


@pytest.mark.parametrize(("share", "rows"), [(0.5, 9), (0.25, 3), (0.1, 1), (0.01, 1), (0.9, 81)])
def test_the_share_is_that_of_all_rows(share: float, rows: int) -> None:
    assert ready(loop_state(), share).rows == rows


def test_every_source_row_is_read_as_often_as_any_other() -> None:
    hook = ready(loop_state())
    drawn = [row for step in range(SOURCE) for row in hook.drawn(step)]
    assert Counter(drawn) == dict.fromkeys(range(SOURCE), hook.rows)
    assert drawn[:SOURCE] != drawn[SOURCE : 2 * SOURCE], "in another order each time"


def test_rows_follow_from_the_update_alone() -> None:
    one, other = ready(loop_state()), ready(loop_state())
    _ = [one.drawn(step) for step in range(30)]
    assert one.drawn(7) == other.drawn(7)
    assert one.drawn(8) != other.drawn(7)


def expected_gradients(loop: LoopState, hook: Rehearsal) -> dict[str, Tensor]:
    """Of the distance summed over this update's rows, each worth as much as a row of the task's mean loss."""
    then = body_of(loop_state()).eval()(hook.feed.values).detach()
    rows = hook.drawn(loop.step)
    loop.stack.module.zero_grad()
    loop.stack.module.eval()
    now = body_of(loop)(hook.feed.values[rows])
    ((now - then[rows]).square().sum() / spread(then) / BATCH).backward()
    return gradients(loop)


@pytest.mark.parametrize("at_a_time", [16, 2])
def test_the_gradient_is_that_of_the_distance_in_however_many_parts(at_a_time: int) -> None:
    loop = loop_state()
    hook = ready(loop, share=0.4, at_a_time=at_a_time)
    moved(loop)
    loop.step = 5
    loop.stack.module.train()
    hook.after_backward(loop)
    found, expected = gradients(loop), expected_gradients(loop, hook)
    assert found.keys() == expected.keys()
    assert "2.weight" not in found
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor)


def test_it_adds_to_the_gradients_that_are_there() -> None:
    loop = loop_state()
    hook = ready(loop)
    moved(loop)
    for parameter in loop.stack.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    hook.after_backward(loop)
    found, expected = gradients(loop), expected_gradients(loop, hook)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor + 1)


def test_a_network_that_has_not_moved_is_not_pulled() -> None:
    loop = loop_state()
    hook = ready(loop)
    loop.stack.module.train()
    hook.after_backward(loop)
    assert all(tensor.abs().max() < 1e-6 for tensor in gradients(loop).values())


def test_memory_that_runs_out_costs_nothing_but_smaller_parts() -> None:
    loop = loop_state()
    hook = ready(loop, share=0.4)
    moved(loop)
    expected = expected_gradients(loop, hook)
    loop.stack.module.zero_grad()
    plain, sizes = hook.feed.batch, []

    def tight(rows: Sequence[int], epoch: int | None = None) -> Any:
        sizes.append(len(rows))
        if len(rows) > 2:
            raise MemoryError
        return plain(rows, epoch)

    hook.feed.batch = tight  # type: ignore[method-assign, assignment]
    hook.after_backward(loop)
    assert max(sizes) > 2 >= sizes[-1]
    for name, tensor in expected.items():
        torch.testing.assert_close(gradients(loop)[name], tensor)


def test_it_holds_what_the_task_would_move() -> None:
    """The same task, with and without: features of source rows stay nearer to what they were."""
    far = {}
    for share in (0.0, 0.5):
        loop = loop_state()
        hook = ready(loop, share or 0.5)
        loop.stack.module.eval()
        for step in range(60):
            loop.step = step
            loop.stack.module.zero_grad()
            (body_of(loop)(numbers(BATCH).values) - 0.5).square().mean().backward()
            if share:
                hook.after_backward(loop)
            with torch.no_grad():
                for parameter in body_of(loop).parameters():
                    parameter -= 0.05 * parameter.grad
        far[share] = float(hook._distance(loop, range(SOURCE)).detach())
    assert far[0.5] < 0.5 * far[0.0]


def test_it_does_nothing_where_only_the_head_learns_and_frozen_groups_get_no_gradient() -> None:
    loop = loop_state(HEAD)
    hook = ready(loop)
    assert hook.state() == {}
    hook.after_backward(loop)
    assert gradients(loop) == {}
    loop = loop_state(TOP)
    hook = ready(loop)
    moved(loop)
    hook.after_backward(loop)
    assert {name.split(".")[0] for name in gradients(loop)} == {"1"}


def test_a_resumed_run_is_pulled_alike() -> None:
    pulls = []
    for resumed in (False, True):
        loop = loop_state()
        hook = ready(loop)
        moved(loop)
        if resumed:
            state = {name: tensor.clone() for name, tensor in hook.state().items()}
            hook = Rehearsal(0.25, numbers(SOURCE, seed=2), BATCH, 16, seed=3)
            hook.restore(state)
            loop.phase = ALL
            hook.before_phase(loop)
        loop.step = 11
        hook.after_backward(loop)
        pulls.append(gradients(loop))
    assert all(torch.equal(pulls[0][name], pulls[1][name]) for name in pulls[0])
    assert pulls[0]["0.weight"].abs().sum() > 0
