"""What every schedule promises, whichever file it stands in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.optim.schedules import SCHEDULES, rate_factor

NAMES = SCHEDULES.names()
STEPS = 1000


def factors(name: str, steps: int = STEPS, warmup: float = 0.1, stalls: int = 0) -> list[float]:
    return [rate_factor(SCHEDULES.get(name), step, steps, warmup, stalls) for step in range(steps)]


def test_the_promised_ones_are_there() -> None:
    assert {"constant", "cosine", "linear", "one-cycle", "plateau", "polynomial", "step"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card(name: str) -> None:
    card = SCHEDULES.get(name).card
    assert all((card.what, card.when, card.cost, card.evidence, card.source))


@pytest.mark.parametrize("name", NAMES)
@given(progress=st.floats(0, 1), stalls=st.integers(0, 40))
def test_factors_are_in_0_1_and_repeatable(name: str, progress: float, stalls: int) -> None:
    factor = SCHEDULES.get(name).factor
    assert 0 <= factor(progress, stalls) <= 1
    assert factor(progress, stalls) == factor(progress, stalls)


@pytest.mark.parametrize("name", NAMES)
def test_the_full_rate_is_reached_and_no_step_is_wasted_at_0(name: str) -> None:
    values = factors(name)
    assert max(values) == pytest.approx(1.0, abs=1e-3)
    assert all(value > 0 for value in values)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"step"}))
def test_no_jumps(name: str) -> None:
    values = factors(name)
    assert max(abs(a - b) for a, b in itertools.pairwise(values)) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_it_rises_once_and_then_never_again(name: str) -> None:
    values = factors(name)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert values[0] < 0.1


@pytest.mark.parametrize("name", ["cosine", "linear", "one-cycle", "polynomial"])
def test_the_end_is_near_0(name: str) -> None:
    assert factors(name)[-1] < 0.005


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_short_phases_still_learn(name: str, steps: int) -> None:
    values = factors(name, steps)
    assert len(values) == steps
    assert all(0 < value <= 1 for value in values)


def test_shapes() -> None:
    assert factors("constant", 10, warmup=0) == [1.0] * 10
    assert factors("linear", 4, warmup=0) == [1.0, 0.75, 0.5, 0.25]
    assert factors("polynomial", 2, warmup=0) == [1.0, 0.25]
    assert factors("step", 4, warmup=0) == [1.0, 1.0, 0.1, 0.01]
    assert factors("cosine", 2, warmup=0) == pytest.approx([1.0, 0.5])
    assert [factors("plateau", 1, warmup=0, stalls=n)[0] for n in range(3)] == [1.0, 0.5, 0.25]


def test_one_cycle_is_torchs() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=1001, cycle_momentum=False)
    factor = SCHEDULES.get("one-cycle").factor
    for step in range(1000):
        # torch's peak is one update earlier, hence the tolerance.
        assert factor(step / 1000, 0) == pytest.approx(optimizer.param_groups[0]["lr"], abs=0.006)
        optimizer.step()
        theirs.step()


def test_one_cycle_ignores_the_recipes_warmup() -> None:
    assert factors("one-cycle", 50, warmup=0.5) == factors("one-cycle", 50, warmup=0.0)
