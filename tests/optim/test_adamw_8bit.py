"""Eight bits of state: near to AdamW, small, and exact where it is stored and read again."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from unfreeze.optim.optimizers import adamw_8bit
from unfreeze.optim.optimizers.adamw_8bit import BLOCK, AdamW8bit, codes, pack, unpack


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_256_different_numbers(signed: bool) -> None:
    found = codes(signed)
    assert len(found) == 256
    assert bool((found.diff() > 0).all())
    assert float(found[-1]) == 1.0
    assert 0.0 in found
    assert bool((found < 0).any()) is signed


@given(
    st.lists(st.floats(-1, 1, width=32, allow_subnormal=False), min_size=BLOCK, max_size=BLOCK),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.booleans(),
)
def test_packing_rounds_to_a_near_number(values: list[float], scale: float, signed: bool) -> None:
    block = torch.tensor([values]).where(torch.tensor([values]).abs() > 1e-25, 0.0) * scale
    block = block if signed else block.abs()
    packed, largest = pack(block, signed)
    again = unpack(packed, largest, signed)
    # Neighbours among the codes are closest in the upper decade (0.014 or 0.007) and furthest in the lower ones.
    assert bool(((again - block).abs() <= 0.8 * block.abs() + 1e-6 * largest).all())
    assert bool(((again - block).abs()[block.abs() > 0.1 * largest] <= 0.016 * largest).all())
    if not signed:
        assert bool((again >= block * (1 - 2**-8)).all()), "rounded up"


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(48, 300), nn.Tanh(), nn.Linear(300, 3))


def learn(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> list[float]:
    losses = []
    for number in range(first, first + steps):
        draw = torch.Generator().manual_seed(number)
        x = torch.randn(32, 48, generator=draw)
        loss = nn.functional.cross_entropy(module(x), (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])


def test_it_learns_as_adamw_does() -> None:
    one, other = network(), network()
    plain = learn(one, torch.optim.AdamW(one.parameters(), lr=3e-3), 120)
    small = learn(other, AdamW8bit(other.parameters(), lr=3e-3, weight_decay=0.01), 120)
    assert sum(small[-20:]) == pytest.approx(sum(plain[-20:]), rel=0.05)
    moved, difference = weights(one) - weights(network()), weights(one) - weights(other)
    assert float(difference.norm()) < 0.2 * float(moved.norm())


def test_it_continues_exactly_and_in_bytes() -> None:
    whole, cut = network(), network()
    learn(whole, AdamW8bit(whole.parameters()), 9)
    optimizer = AdamW8bit(cut.parameters())
    learn(cut, optimizer, 4)
    again = AdamW8bit(cut.parameters())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert {t.dtype for s in again.state.values() for n, t in s.items() if n == "exp_avg"} == {
        torch.uint8,
        torch.float32,  # of the small parameters
    }
    learn(cut, again, 5, first=4)
    assert torch.equal(weights(whole), weights(cut))


def test_portions_of_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = network(), network()
    learn(one, AdamW8bit(one.parameters()), 3)
    monkeypatch.setattr(adamw_8bit, "TOGETHER", 7)
    learn(other, AdamW8bit(other.parameters()), 3)
    assert torch.equal(weights(one), weights(other))


def test_a_squared_gradient_is_never_stored_as_nothing() -> None:
    """A number far below the block's largest would be divided by zero later."""
    block = torch.full((1, BLOCK), 1e-12)
    block[0, 0] = 1.0
    packed, largest = pack(block, signed=False)
    assert float(unpack(packed, largest, signed=False).min()) > 0
