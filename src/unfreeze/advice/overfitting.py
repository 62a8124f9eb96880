"""Less to overfit with, where validation fell while the training loss went on falling."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, course

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
    image = run.manifest.modality == "image"
    remedy = (
        {"training.augment": ["flip", "crop:0.6", "mixup:0.2"]}
        if image and not run.recipe.training.augment
        else {"training.label_smoothing": 0.1}
        if run.result["task"] == "classification" and not run.recipe.training.label_smoothing
        else {"training.weight_decay": 10 * (run.recipe.training.weight_decay or 0.01)}
    )
    return Advice(
        what=f"Guard against overfitting: {', '.join(key.rpartition('.')[2].replace('_', ' ') for key in remedy)}, and "
        "stop early",
        why=f"validation was best after epoch {best[0]} of {epochs[-1][0]} and fell by {lost:.3f} from there, while "
        f"the training loss went on from {best[1]:.3f} to {epochs[-1][1]:.3f}; the best weights were kept",
        gain=0.1,
        changes={**remedy, "training.early_stopping": 3},
    )


RULE = rule
