"""Longer training, where validation was still gaining at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, course

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
    scale = max(1e-6, 1.0 - last) if run.result["higher_is_better"] else max(1e-6, abs(last))
    length = run.recipe.training.epochs or len(epochs)
    return Advice(
        what=f"Train longer: {2 * length:g} epochs instead of {length:g}",
        why=f"the last epoch was the best on validation, and the last third of the epochs still gained {gained:.3f}",
        gain=min(1.0, 0.5 * gained / scale),
        changes={"training.epochs": 2 * length},
    )


RULE = rule
