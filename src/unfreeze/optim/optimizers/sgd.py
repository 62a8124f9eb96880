"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.optim.optimizers._groups import COUPLED, fusable, scale_decay
from unfreeze.registry import Card

if TYPE_CHECKING:
    from torch.optim import Optimizer


def sgd(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """torch's SGD with Nesterov momentum 0.9, fused where torch has the kernel."""
    from torch.optim import SGD

    return SGD(scale_decay(groups, COUPLED), lr=lr, momentum=0.9, nesterov=True, fused=fusable(groups))


OPTIMIZER = OptimizerEntry(
    Card(
        what="plain gradient steps with momentum 0.9 (Nesterov)",
        when="convolutional networks with enough data and a rate that somebody tuned",
        cost="one number of state per learning parameter; rates a hundred times AdamW's, and sensitive to them; "
        "weight decay taken at a hundredth, as L2",
        evidence="generalises better than Adam in arXiv:1705.08292; worse than Adam for attention models in "
        "arXiv:1912.03194; fine-tuning rates from 1e-4 to 0.1 were tried for images in arXiv:1805.08974",
        source="Sutskever et al. 2013; rates: Kornblith et al. 2019, arXiv:1805.08974",
    ),
    make=sgd,
    rate=100.0,
    state=1,
    scales="always",
)
