"""A look at rows whose labels are probably wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice

if TYPE_CHECKING:
    from unfreeze.run import Run

FEW = 0.01


def rule(run: Run) -> Advice | None:
    """The share of suspected label errors, where it is more than a percent and the table for review is there."""
    found, table = run.evidence.get("labels") or {}, run.path / "evidence" / "labels.csv"
    part = (found.get("parts") or {}).get("train")
    if part is None or part["share"] < FEW or not table.exists() or run.recipe.data.drop_suspects:
        return None
    share = part["share"]
    return Advice(
        what=f"Review the suspected label errors in {table} (put yes into its column 'keep' where a label is right), "
        "then train without the others",
        why=f"out-of-sample predictions contradict the labels of {share:.1%} of the training rows with confidence",
        gain=min(0.5, share * 2),
        changes={"data.drop_suspects": str(table)},
    )


RULE = rule
