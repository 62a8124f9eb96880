"""Adam, weight decay as part of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.optim.optimizers._groups import COUPLED, fusable, scale_decay
from unfreeze.registry import Card

if TYPE_CHECKING:
    from torch.optim import Optimizer


def adam(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """torch's Adam with its usual momenta (0.9, 0.999), fused where torch has the kernel."""
    from torch.optim import Adam

    return Adam(scale_decay(groups, COUPLED), lr=lr, fused=fusable(groups))


OPTIMIZER = OptimizerEntry(
    Card(
        what="steps of even size in each direction, from running means of gradient and squared gradient",
        when="to repeat work that used it; otherwise AdamW, which differs in weight decay only",
        cost="two numbers of state per learning parameter; weight decay taken at a hundredth, as L2",
        evidence="as AdamW without weight decay; with it, worse in arXiv:1711.05101",
        source="Kingma and Ba 2015, arXiv:1412.6980",
    ),
    make=adam,
    state=2,
    scales="without decay",
)
