"""Less to overfit with, where validation fell while the training loss went on falling."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from unfreeze.advice._advice import Advice, course, share_of_way

if TYPE_CHECKING:
    from unfreeze.run import Run


def rule(run: Run) -> Advice | None:
    """Validation was best well before the end, and is worse at the end by more than it moves from epoch to epoch."""
    epochs = course(run)
    if len(epochs) < 4:
        return None
    best = max(epochs, key=lambda epoch: epoch[2])
    after = [epoch for epoch in epochs if epoch[0] > best[0]]
    if len(after) < len(epochs) / 3 or epochs[-1][1] >= best[1]:
        return None
    lost = best[2] - epochs[-1][2]
    steps = [abs(one[2] - two[2]) for one, two in pairwise(epochs)]
    if lost <= sorted(steps)[len(steps) // 2]:
        return None
    remedy, named = _remedy(run)
    return Advice(
        what=f"Guard against overfitting: {named}, and stop early",
        why=f"validation was best after epoch {best[0]} of {epochs[-1][0]} and fell by {lost:.3f} from there, while "
        f"the training loss went on from {best[1]:.3f} to {epochs[-1][1]:.3f}; the best weights were kept, so that at "
        "most about as much more can be gained",
        gain=share_of_way(lost, best[2], run.result["higher_is_better"]),
        changes={**remedy, "training.early_stopping": 3},
    )


def _remedy(run: Run) -> tuple[dict[str, Any], str]:
    """What the recipe does not do yet, and its name."""
    training = run.recipe.training
    if run.manifest.modality == "image" and not training.augment:
        changes = {"training.augment": ["flip", "crop:0.6", "mixup:0.2"], "training.cached_views": None}
        return changes, "augmentation"
    if run.result["task"] == "classification" and not training.label_smoothing:
        return {"training.label_smoothing": 0.1}, "label smoothing"
    return {"training.weight_decay": 10 * (training.weight_decay or 0.01)}, "weight decay"


RULE = rule
