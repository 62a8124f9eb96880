"""RMSprop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.optim.optimizers._groups import COUPLED, scale_decay
from unfreeze.registry import Card

if TYPE_CHECKING:
    from torch.optim import Optimizer


def rmsprop(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """torch's RMSprop with smoothing 0.99 and no momentum."""
    from torch.optim import RMSprop

    return RMSprop(scale_decay(groups, COUPLED), lr=lr, alpha=0.99)


OPTIMIZER = OptimizerEntry(
    Card(
        what="gradient divided by a running root mean square of itself",
        when="to repeat work that used it, such as MobileNet's and EfficientNet's pre-training",
        cost="one number of state per learning parameter; no bias correction, so warm-up matters; "
        "weight decay taken at a hundredth, as L2",
        evidence="Adam without momentum; the rate's factor of 1 follows from equal step sizes, not from a study",
        source="Tieleman and Hinton 2012, lecture 6.5 of Neural Networks for Machine Learning",
    ),
    make=rmsprop,
    state=1,
    scales="without decay",
)
