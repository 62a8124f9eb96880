"""Longer training, where validation was still gaining at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, course, share_of_way

if TYPE_CHECKING:
    from unfreeze.run import Run


def rule(run: Run) -> Advice | None:
    """The best epoch was the last, and the last third of the epochs has gained."""
    epochs = course(run)
    if len(epochs) < 3 or run.recipe.method.phases or run.result["best_epoch"] != epochs[-1][0]:
        return None
    before, last = epochs[-1 - max(1, len(epochs) // 3)][2], epochs[-1][2]
    gained = last - before
    if gained <= 0:
        return None
    length = run.recipe.training.epochs or len(epochs)
    return Advice(
        what=f"Train longer: {2 * length:g} epochs instead of {length:g}",
        why=f"the last epoch was the best on validation, and the last third of the epochs still gained {gained:.3f}",
        gain=0.5 * share_of_way(gained, last, run.result["higher_is_better"]),
        changes={"training.epochs": 2 * length},
    )


RULE = rule
