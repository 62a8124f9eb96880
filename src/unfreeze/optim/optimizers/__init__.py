"""Optimizers: one file each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.registry import Card, Registry

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """A named optimizer.

    Parameters
    ----------
    card : Card
    make : callable (parameter groups, lr) -> torch Optimizer
        Groups are dicts with `params`, `lr`, `weight_decay`. State must be tensors and plain numbers only, so
        that it can be stored without pickle, and be allocated only when a parameter first has a gradient.
    rate : float
        Factor on the families' rates, which are for AdamW (SGD needs about a hundred times more).
    state : float
        Numbers of float32 that it keeps for each parameter that learns, for forecasts of memory.
    scales : "always", "without decay" or "never"
        When all it does to a weight whose gradient is always zero is multiply it by a number that is the same for every
        such weight, and does to the others what it would do without that one.
    """

    card: Card
    make: Callable[[list[dict[str, Any]], float], Optimizer]
    rate: float = 1.0
    state: float = 0.0
    scales: Literal["always", "without decay", "never"] = "never"


OPTIMIZERS: Registry[OptimizerEntry] = Registry("optimizer", "unfreeze.optim.optimizers", "OPTIMIZER")
