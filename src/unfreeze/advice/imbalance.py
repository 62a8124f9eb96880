"""Balanced draws, where rare classes are recognised worse than frequent ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, figures

if TYPE_CHECKING:
    from unfreeze.run import Run

UNEVEN = 3.0
BEHIND = 0.03


def rule(run: Run) -> Advice | None:
    """Balanced accuracy behind accuracy on validation, and classes of uneven sizes."""
    counts = [count for count in run.manifest.counts.get("train", {}).values() if count]
    found = figures(run)
    whole, balanced = ((found.get(name) or {}).get("value") for name in ("accuracy", "balanced_accuracy"))
    training = run.recipe.training
    if run.result["task"] != "classification" or training.sampling != "natural" or training.class_weights != "none":
        return None
    if whole is None or balanced is None or max(counts) < UNEVEN * min(counts) or whole - balanced < BEHIND:
        return None
    return Advice(
        what="Draw every class equally often",
        why=f"the largest class has {max(counts) / min(counts):.0f} times the rows of the smallest, and accuracy over "
        f"classes ({balanced:.3f}) is {whole - balanced:.3f} behind accuracy over rows ({whole:.3f}) on validation",
        gain=min(0.5, (whole - balanced) / max(1e-6, 1.0 - balanced)),
        changes={"training.sampling": "balanced", "evaluation.metric": "balanced_accuracy"},
    )


RULE = rule
