"""Adafactor: Adam with a factored second moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.registry import Card

if TYPE_CHECKING:
    from torch.optim import Optimizer


def adafactor(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """torch's Adafactor, which takes its rate relative to the size of each weight."""
    from torch.optim import Adafactor

    return Adafactor(groups, lr=lr)


OPTIMIZER = OptimizerEntry(
    Card(
        what="row and column means instead of a second moment per weight, and no first moment",
        when="memory is short, or the model was pre-trained with it (T5)",
        cost="almost no state; the rate is relative to a weight's size, so new zero weights start slowly",
        evidence="on a par with Adam for translation in the source; T5 is fine-tuned at 1e-3 (arXiv:1910.10683), "
        "about thirty times the rate of AdamW for BERT (arXiv:1810.04805)",
        source="Shazeer and Stern 2018, arXiv:1804.04235",
    ),
    make=adafactor,
    rate=30.0,
    state=0.02,
)
