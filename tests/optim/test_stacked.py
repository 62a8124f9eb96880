"""Stacked models move as each would by torch's optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.optim.stacked import STACKED, clip

MODELS, SHAPE, STEPS = (2, 3), (4, 5), 12
RATES = torch.tensor([[1e-3, 1e-2, 0.1], [3e-3, 3e-2, 0.3]])
DECAYS = torch.tensor([[0.0, 0.01, 0.1], [0.0, 0.02, 0.2]])


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", STACKED)
def test_each_model_moves_as_it_would_alone(name: str) -> None:
    weight, bias = drawn(*MODELS, *SHAPE), drawn(*MODELS, 4, seed=1)
    start = [(weight[place].clone(), bias[place].clone()) for place in places()]
    stacked = STACKED[name]([weight, bias], [DECAYS, torch.zeros_like(DECAYS)])
    gradients = [(drawn(*MODELS, *SHAPE, seed=2 + step), drawn(*MODELS, 4, seed=50 + step)) for step in range(STEPS)]
    for step, (of_weight, of_bias) in enumerate(gradients):
        stacked.step([of_weight.clone(), of_bias.clone()], RATES * (1 - step / STEPS))
    for place, (alone, alone_bias) in zip(places(), start, strict=True):
        values = [nn.Parameter(alone), nn.Parameter(alone_bias)]
        groups = [
            {"params": [values[0]], "weight_decay": float(DECAYS[place]), "lr": 0.0},
            {"params": [values[1]], "weight_decay": 0.0, "lr": 0.0},
        ]
        optimizer = OPTIMIZERS.get(name).make(groups, 1.0)
        for step, both in enumerate(gradients):
            for group, value, gradient in zip(optimizer.param_groups, values, both, strict=True):
                group["lr"] = float(RATES[place]) * (1 - step / STEPS)
                value.grad = gradient[place].clone()
            optimizer.step()
        torch.testing.assert_close(weight[place], values[0].detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(bias[place], values[1].detach(), rtol=1e-5, atol=1e-6)


def test_each_model_has_its_own_norm() -> None:
    gradients = [drawn(*MODELS, *SHAPE) * RATES[..., None, None] * 20, drawn(*MODELS, 4, seed=1)]
    alone = {place: [nn.Parameter(torch.zeros_like(each[place])) for each in gradients] for place in places()}
    for place, values in alone.items():
        for value, gradient in zip(values, gradients, strict=True):
            value.grad = gradient[place].clone()
        nn.utils.clip_grad_norm_(values, 2.5)
    norms = torch.stack([each.flatten(2).square().sum(-1) for each in gradients]).sum(0).sqrt()
    assert bool((norms < 2.5).any())
    assert bool((norms > 2.5).any())
    clip(gradients, 2.5, models=2)
    for place, values in alone.items():
        for value, gradient in zip(values, gradients, strict=True):
            torch.testing.assert_close(gradient[place], value.grad)


def places() -> list[tuple[int, int]]:
    return [(one, other) for one in range(MODELS[0]) for other in range(MODELS[1])]
