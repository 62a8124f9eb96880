"""Dropout with fast masks: the same distribution, scale and gradient as torch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from unfreeze.stack.dropout import FastDropout, draw_fast, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_share_is_dropped_and_the_rest_scaled(rate: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(400, 501, dtype=dtype), rate).float()
    assert abs(float((dropped == 0).float().mean()) - rate) < 0.01
    kept = dropped[dropped != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-2)
    assert abs(float(dropped.mean()) - 1) < 0.05


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(1_000_000), 0.5) != 0).float() - 0.5
    for shift in (1, 2, 3, 4, 5, 8, 64):
        assert abs(float((kept[shift:] * kept[:-shift]).mean())) < 0.002


@given(shape=st.lists(st.integers(0, 5), max_size=4), seed=st.integers(0, 2**31))
def test_the_gradient_is_that_of_the_mask(shape: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.randn(shape, dtype=torch.float32).requires_grad_()
    dropped = dropout(values, 0.3)
    dropped.sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert torch.allclose(values.grad * values.detach(), dropped.detach())


def test_masks_follow_from_torchs_generator() -> None:
    values = torch.randn(50, 50)
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(dropout(values, 0.2))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_the_ends_of_the_range(rate: float) -> None:
    values = torch.randn(20)
    assert torch.equal(dropout(values, rate), values * (1 - rate))


def test_other_types_and_evaluation_go_to_torch() -> None:
    values = torch.randn(20, dtype=torch.float64)
    assert dropout(values, 0.5).dtype == torch.float64
    assert dropout(values, 0.5, training=False) is values or torch.equal(dropout(values, 0.5, training=False), values)


def test_a_transposed_input_keeps_its_values_in_place() -> None:
    torch.manual_seed(0)
    values = torch.randn(30, 40).t()
    dropped = dropout(values, 0.5)
    kept = dropped != 0
    assert torch.allclose(dropped[kept], 2 * values[kept])


def test_only_plain_dropout_is_replaced() -> None:
    module = nn.Sequential(nn.Dropout(0.3), nn.Dropout2d(0.3), nn.Linear(2, 2))
    draw_fast(module)
    assert [type(child) for child in module] == [FastDropout, nn.Dropout2d, nn.Linear]
    assert module[0].p == 0.3
    module.eval()
    values = torch.randn(3, 2)
    assert torch.equal(module[0](values), values)
