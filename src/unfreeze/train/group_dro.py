"""Losses weighted by group: every group alike, or those most that the model does worst on (group DRO).

Source: Sagawa, Koh, Hashimoto and Liang 2020, Distributionally Robust Neural Networks for Group Shifts,
arXiv:1911.08731, algorithm 1. That weighing alike does nearly as well: Idrissi et al. 2022, arXiv:2110.14503.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unfreeze.data.manifest import Manifest
from unfreeze.errors import RecipeError, nearest
from unfreeze.recipe import Recipe
from unfreeze.tasks._task import Loss
from unfreeze.train.hooks import Hook, LoopState
from unfreeze.train.worst_group import METRIC

STATE = "log_weights"

MIXES = ("mixup", "cutmix")


def group_problems(recipe: Recipe, manifest: Manifest) -> list[str]:
    """What is asked for by group and cannot be had with these data."""
    training = recipe.training
    asked = {
        "training.sampling=group-balanced": training.sampling == "group-balanced",
        "training.class_weights=group-balanced": training.class_weights == "group-balanced",
        "method.group_dro": recipe.method.group_dro > 0,
        f"evaluation.metric={METRIC}": recipe.evaluation.metric == METRIC,
    }
    problems = []
    named = [name for name, wanted in asked.items() if wanted]
    if named and not manifest.slices:
        problems.append(
            f"{', '.join(named)}: expected columns that tell groups apart in evaluation.slices; found none."
        )
    known = [one.column for one in manifest.slices]
    for name in training.groups or ():
        if name not in known:
            problems.append(f"training.groups: '{name}' is not in evaluation.slices. {nearest(name, known)}")
    weighs = asked["method.group_dro"] or asked["training.class_weights=group-balanced"]
    mixes = [name for name in training.augment or () if name.partition(":")[0] in MIXES]
    if weighs and mixes:
        problems.append(
            f"training.augment: '{mixes[0]}' mixes rows of different groups, whose losses then cannot be weighted by "
            "group. Leave it out, or use training.sampling=group-balanced instead."
        )
    return problems


class GroupWeights(Hook):
    """Turns the mean loss over rows into Σ_g q_g · (mean loss over the rows of group g).

    A row of group g counts q_g / p_g, where p_g is the share with which the group is drawn: on average over batches
    that is the sum above, whether a batch holds the group or not, and however a batch is split. With a step size, q
    moves after each update towards the groups with the largest losses: q_g ∝ q_g · exp(step · loss_g).

    Parameters
    ----------
    groups : sequence of str
        The group of each training row.
    drawn : sequence of float, optional
        Weights by which rows are drawn (`Job.row_weights`); None: each row once an epoch.
    step : float
        η in the paper, which takes 0.01; 0 keeps all groups alike.
    """

    sees_weights = False

    def __init__(self, groups: Sequence[str], drawn: Sequence[float] | None = None, step: float = 0.0) -> None:
        self.names = tuple(dict.fromkeys(groups))
        numbers = {name: number for number, name in enumerate(self.names)}
        self.groups = torch.tensor([numbers[name] for name in groups], dtype=torch.long)
        weights = torch.ones(len(groups)) if drawn is None else torch.tensor(drawn)
        share = torch.zeros(len(self.names), dtype=torch.float64).index_add_(0, self.groups, weights.double())
        self.share = share / share.sum()
        self.step = step
        self.log_weights = torch.full_like(self.share, -float(torch.tensor(len(self.names)).log()))
        self._forget()

    @property
    def weights(self) -> dict[str, float]:
        """What each group's mean loss counts now; they sum to 1."""
        return dict(zip(self.names, self.log_weights.exp().tolist(), strict=True))

    def before_step(self, loop: LoopState) -> None:
        """No row of this update has been read yet."""
        self._forget()

    def retry(self, loop: LoopState) -> None:
        """Forget the losses of passes that failed."""
        self._forget()

    def weigh(self, loop: LoopState, rows: Sequence[int], loss: Loss) -> Loss:
        """Weigh the loss of each row by its group, and note the groups' own losses."""
        if loss.rows is None:
            raise RecipeError("Losses can be weighted by group only where a task gives a loss for each row.")
        groups = self.groups[torch.tensor(rows)]
        own = loss.rows.detach().double().cpu()
        self._sums.index_add_(0, groups, own)
        self._counts.index_add_(0, groups, torch.ones_like(own))
        weights = (self.log_weights.exp() / self.share)[groups]
        weighted = loss.rows * weights.to(loss.rows)
        return Loss(total=weighted.sum(), weight=loss.weight, rows=weighted)

    def after_backward(self, loop: LoopState) -> None:
        """Move the weights towards the groups with the largest losses in this batch."""
        if not self.step:
            return
        # Of a group that is drawn rarely, the loss counts more when it is drawn: on average each group's mean loss.
        means = self._sums / (self.share * self._counts.sum().clamp(min=1))
        moved = self.log_weights + self.step * means
        self.log_weights = moved - moved.logsumexp(dim=0)

    def state(self) -> dict[str, Tensor]:
        """The groups' weights."""
        return {STATE: self.log_weights}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with those weights."""
        if STATE in state:
            self.log_weights = state[STATE].clone()

    def _forget(self) -> None:
        self._sums, self._counts = torch.zeros_like(self.share), torch.zeros_like(self.share)
