"""Balanced draws, where rare classes are recognised worse than frequent ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, figures, share_of_way

if TYPE_CHECKING:
    from unfreeze.run import Run

UNEVEN = 3.0
BEHIND = 0.03


def rule(run: Run) -> Advice | None:
    """Balanced accuracy surely behind accuracy on validation, and classes of uneven sizes."""
    from unfreeze.evidence.shift import difference

    training = run.recipe.training
    if run.result["task"] != "classification" or training.sampling != "natural" or training.class_weights != "none":
        return None
    counts = [count for count in run.manifest.counts.get("train", {}).values() if count]
    whole, balanced = (figures(run).get(name) for name in ("accuracy", "balanced_accuracy"))
    if not counts or not whole or not balanced or max(counts) < UNEVEN * min(counts):
        return None
    # Of the same rows, so that the interval is rather too wide.
    behind = difference(whole, balanced)
    value, low, high, reached = behind["value"], behind["low"], behind["high"], balanced["value"]
    if value is None or low is None or high is None or reached is None or value < BEHIND or low <= 0:
        return None
    return Advice(
        what="Draw every class equally often",
        why=f"the largest class has {max(counts) / min(counts):.0f} times the rows of the smallest, and accuracy over "
        f"classes ({reached:.3f}) is {value:.3f} ({low:.3f} to {high:.3f}) behind accuracy over rows on validation",
        gain=share_of_way(value, reached, True),
        changes={"training.sampling": "balanced", "evaluation.metric": "balanced_accuracy"},
    )


RULE = rule
