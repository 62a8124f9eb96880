"""A look at rows whose labels are probably wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, figures, share_of_way

if TYPE_CHECKING:
    from unfreeze.run import Run

FEW = 0.01

RIGHT = 0.37
"""Share of the suspects that were wrong labels, where wrong labels had been planted (docs/evidence.md)."""


def rule(run: Run) -> Advice | None:
    """The share of suspected label errors, where it is more than a percent and the table for review is there."""
    found, table = run.evidence.get("labels") or {}, run.path / "evidence" / "labels.csv"
    part = (found.get("parts") or {}).get("train")
    if part is None or part["share"] < FEW or not table.exists() or run.recipe.data.drop_suspects:
        return None
    share = part["share"]
    return Advice(
        what=f"Look at the suspected label errors in {table} first: put yes into its column 'keep' where a label is "
        "right, then train without the others",
        why=f"out-of-sample predictions contradict the labels of {share:.1%} of the training rows with confidence. "
        "Only about a third of such suspects were wrong where errors had been planted (docs/evidence.md), and the "
        "command leaves out every suspect of training that nobody has marked: right labels too",
        gain=_gain(run, RIGHT * share),
        changes={"data.drop_suspects": str(table)},
    )


def _gain(run: Run, wrong: float) -> float:
    """As if each wrong label cost a row of validation."""
    value = (figures(run).get(run.result["metric"]) or {}).get("value")
    if value is None or run.result["task"] == "regression" or not run.result["higher_is_better"]:
        return min(1.0, wrong)
    return share_of_way(wrong, value, True)


RULE = rule
