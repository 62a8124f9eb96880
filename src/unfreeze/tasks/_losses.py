"""Losses of a batch as pure functions of outputs and targets; each returns one number per row.

Tasks add the rows up and divide by their number, so that micro-batches add up to the whole batch.
Class weights have mean 1 over the training rows and the divisor stays the number of rows: a batch that
happens to hold one class only keeps that class's weight (torch divides by the batch's own weights,
which cancels it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unfreeze.errors import RecipeError, nearest
from unfreeze.tasks._task import Loss

FOCAL_GAMMA = 2.0


def parse_loss(name: str | None, known: Sequence[str]) -> tuple[str, float | None]:
    """The loss's name and its number: `focal:1.5` is ("focal", 1.5); None takes the first of `known`.

    Raises
    ------
    RecipeError
        If the task has no such loss, or the number is not one.
    """
    if name is None:
        return known[0], None
    kind, colon, argument = name.strip().lower().replace("_", "-").partition(":")
    if kind not in known:
        raise RecipeError(f"training.loss: unknown loss '{name}' for this task. {nearest(kind, known)}")
    if not colon:
        return kind, None
    if kind not in ("focal", "huber"):
        raise RecipeError(f"training.loss: '{kind}' takes no number after the colon, got '{name}'.")
    return kind, _number(name, argument, positive=kind == "huber")


def _number(name: str, argument: str, positive: bool) -> float:
    expected = "a number greater than 0" if positive else "a number of at least 0"
    try:
        value = float(argument)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise RecipeError(f"training.loss: expected {expected} after the colon, got '{name}'.")
    return value


def loss_of_rows(rows: Tensor) -> Loss:
    """The sum over rows (shape (rows,)) and their number."""
    return Loss(total=rows.sum(), weight=torch.tensor(float(rows.shape[0]), device=rows.device), rows=rows)


def one_hot(targets: Tensor, classes: int) -> Tensor:
    """Class indices of shape (rows,) as float rows of shape (rows, classes); soft targets stay as they are."""
    return targets if targets.is_floating_point() else functional.one_hot(targets, classes).float()


def smooth(soft: Tensor, amount: float) -> Tensor:
    """Spread a share of each row's target over all classes (Szegedy et al. 2016, arXiv:1512.00567)."""
    return soft if amount == 0 else soft * (1 - amount) + amount / soft.shape[-1]


def cross_entropy_rows(outputs: Tensor, soft: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy of soft targets, each class's term times (1 - p)^gamma; shape (rows,).

    With gamma above 0 this is the focal loss (Lin et al. 2017, arXiv:1708.02002): what the model
    already gets right counts less.
    """
    log_p = functional.log_softmax(outputs, dim=-1)
    if gamma:
        log_p = log_p * (1 - log_p.exp()).clamp_min(1e-12) ** gamma
    return -(soft * log_p).sum(dim=-1)


def binary_rows(outputs: Tensor, targets: Tensor, gamma: float = 0.0) -> Tensor:
    """Binary cross-entropy of each label, focal with gamma above 0; shape (rows, labels)."""
    loss = functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    if gamma == 0:
        return loss
    # Each side has its own focal factor, so that targets between 0 and 1 keep their meaning.
    positive = targets * functional.softplus(-outputs) * torch.sigmoid(-outputs).clamp_min(1e-12) ** gamma
    negative = (1 - targets) * functional.softplus(outputs) * torch.sigmoid(outputs).clamp_min(1e-12) ** gamma
    return positive + negative
