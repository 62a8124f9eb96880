"""Optimizers of many models at once: tensors that stand on top of each other, each with its own rate and weight decay.

The textbook's updates, written out: torch's optimizers take one rate for a whole tensor, and a call for each model
costs more than a small head's arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unfreeze.optim.optimizers._groups import COUPLED

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MOMENTUM = 0.9


class StackedAdamW:
    """What `optimizers/adamw.py` does to each model alone.

    Parameters
    ----------
    values : sequence of Tensor of shape (*models, …)
    decays : sequence of Tensor of shape (*models), one for each of `values`
    """

    def __init__(self, values: Sequence[Tensor], decays: Sequence[Tensor]) -> None:
        self.values, self.decays = values, decays
        self.means = [torch.zeros_like(value) for value in values]
        self.squares = [torch.zeros_like(value) for value in values]
        self._room = [torch.empty_like(value) for value in values]
        self.updates = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """One update in place, at rates of shape (*models)."""
        self.updates += 1
        first, second = (1 - beta**self.updates for beta in BETAS)
        each = zip(self.values, gradients, self.decays, self.means, self.squares, self._room, strict=True)
        for value, gradient, decay, mean, square, room in each:
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            # Both corrections of the bias are taken to the rate and to epsilon, which are smaller than the moments.
            torch.sqrt(square, out=room).add_(EPSILON * second**0.5)
            value.mul_(_over(1 - rates * decay, value))
            value.addcmul_(torch.div(mean, room, out=room), _over(-rates * (second**0.5 / first), value))


class StackedSGD:
    """What `optimizers/sgd.py` does to each model alone. Parameters are those of `StackedAdamW`."""

    def __init__(self, values: Sequence[Tensor], decays: Sequence[Tensor]) -> None:
        self.values = values
        self.decays = [decay * COUPLED for decay in decays]
        self.velocities = [torch.zeros_like(value) for value in values]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """One update in place, at rates of shape (*models); the gradients are changed."""
        for value, gradient, decay, velocity in zip(self.values, gradients, self.decays, self.velocities, strict=True):
            gradient.addcmul_(value, _over(decay, value))
            velocity.mul_(MOMENTUM).add_(gradient)
            value.addcmul_(gradient.add_(velocity, alpha=MOMENTUM), _over(-rates, value))


STACKED: dict[str, type[StackedAdamW] | type[StackedSGD]] = {"adamw": StackedAdamW, "sgd": StackedSGD}
"""By the name of the optimizer whose update they do."""


def clip(gradients: Sequence[Tensor], most: float, models: int) -> None:
    """Scale each model's gradient down to a norm of at most `most`, in place, as `clip_grad_norm_` does.

    Parameters
    ----------
    models : int
        How many leading axes number the models.
    """
    each = torch.stack([torch.linalg.vector_norm(gradient.flatten(models), dim=-1) for gradient in gradients])
    factors = (most / (torch.linalg.vector_norm(each, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_over(factors, gradient))


def _over(numbers: Tensor, values: Tensor) -> Tensor:
    """One number for each model, so shaped that it meets all of that model's values."""
    return numbers.reshape(*numbers.shape, *(1,) * (values.dim() - numbers.dim()))
