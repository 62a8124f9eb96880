"""Lion: steps by the sign of the momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.optim.optimizers._groups import scale_decay
from unfreeze.registry import Card

RATE = 0.2


def lion_step(value: Tensor, momentum: Tensor, gradient: Tensor, lr: float, decay: float, betas: Any) -> None:
    """One update in place: algorithm 2 of the source."""
    value.mul_(1 - lr * decay)
    value.add_(torch.lerp(gradient, momentum, betas[0]).sign_(), alpha=-lr)
    momentum.lerp_(gradient, 1 - betas[1])


class Lion(Optimizer):
    """Parameters and their groups as in every torch optimizer; the only state is the momentum."""

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is None:
                    continue
                state = self.state[value]
                if not state:
                    state["exp_avg"] = torch.zeros_like(value)
                lion_step(value, state["exp_avg"], value.grad, group["lr"], group["weight_decay"], group["betas"])
        return loss


def lion(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """Lion with the source's momenta (0.9, 0.99); weight decay grows as the rate shrinks, as the source says."""
    return Lion(scale_decay(groups, 1 / RATE), lr=lr)


OPTIMIZER = OptimizerEntry(
    Card(
        what="every weight moves by the same amount, in the direction of the momentum's sign",
        when="large batches; memory is short",
        cost="one number of state per learning parameter; noisy with small batches; "
        "a rate 3 to 10 times smaller than AdamW's, with as much more weight decay",
        evidence="found by program search; ahead of AdamW on the source's image and text models, "
        "with gains that shrink for small batches",
        source="Chen et al. 2023, arXiv:2302.06675",
    ),
    make=lion,
    rate=RATE,
    state=1,
    scales="always",
)
