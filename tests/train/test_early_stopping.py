"""Early stopping counts epochs without gain, phase by phase, and across interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from unfreeze.train.early_stopping import EarlyStopping
from unfreeze.train.hooks import LoopState


def loop_state() -> LoopState:
    return LoopState(stack=cast(Any, None), working=cast(Any, None))


def epochs_until_stop(hook: EarlyStopping, loop: LoopState, scores: Sequence[float]) -> int:
    """Feed scores epoch by epoch; how many it took, or all of them."""
    for number, score in enumerate(scores, start=1):
        loop.score, loop.validation = score, {"accuracy": score}
        hook.after_epoch(loop)
        if loop.stop_phase or loop.stop_run:
            return number
    return len(scores) + 1


@pytest.mark.parametrize(
    ("patience", "scores", "stop"),
    [
        (1, [0.5, 0.6, 0.6, 0.9], 3),
        (2, [0.5, 0.4, 0.6, 0.6, 0.5, 0.9], 5),
        (2, [0.1, 0.2, 0.3], 4),
        (2, [0.5, float("nan"), float("nan")], 3),
        (1, [-3.0, -2.0, -2.5], 3),
    ],
)
def test_it_stops_after_so_many_epochs_without_gain(patience: int, scores: list[float], stop: int) -> None:
    hook, loop = EarlyStopping(patience), loop_state()
    hook.before_phase(loop)
    assert epochs_until_stop(hook, loop, scores) == stop
    assert loop.stop_run == (stop <= len(scores))


def test_an_earlier_phase_ends_and_the_run_goes_on_with_a_fresh_count() -> None:
    hook, loop = EarlyStopping(1, phases=2), loop_state()
    hook.before_phase(loop)
    assert epochs_until_stop(hook, loop, [0.9, 0.9]) == 2
    assert (loop.stop_phase, loop.stop_run) == (True, False)
    loop.phase_index, loop.stop_phase = 1, False
    hook.before_phase(loop)
    # Worse than the phase before, but gaining: a new phase is measured against itself.
    assert epochs_until_stop(hook, loop, [0.5, 0.6, 0.6]) == 3
    assert loop.stop_run


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_an_interrupted_count_continues(cut: int) -> None:
    scores = [0.5, 0.6, 0.55, 0.6, 0.9]
    first, loop = EarlyStopping(2), loop_state()
    first.before_phase(loop)
    epochs_until_stop(first, loop, scores[:cut])
    second, resumed = EarlyStopping(2), loop_state()
    second.restore(first.state())
    second.before_phase(resumed)
    assert cut + epochs_until_stop(second, resumed, scores[cut:]) == 4


def test_without_validation_it_never_stops() -> None:
    hook, loop = EarlyStopping(1), loop_state()
    for _ in range(3):
        hook.after_epoch(loop)
    assert not loop.stop_phase
