"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.optim.optimizers._groups import fusable
from unfreeze.registry import Card

if TYPE_CHECKING:
    from torch.optim import Optimizer


def adamw(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """torch's AdamW with its usual momenta (0.9, 0.999), fused where torch has the kernel."""
    from torch.optim import AdamW

    return AdamW(groups, lr=lr, fused=fusable(groups))


OPTIMIZER = OptimizerEntry(
    Card(
        what="Adam whose weight decay acts on the weights, not on the gradient",
        when="the default for transformers, and safe elsewhere",
        cost="two numbers of state per learning parameter",
        evidence="better generalisation than Adam with L2 in the source; the field's default for fine-tuning",
        source="Loshchilov and Hutter 2019, arXiv:1711.05101",
    ),
    make=adamw,
    state=2,
    scales="always",
)
