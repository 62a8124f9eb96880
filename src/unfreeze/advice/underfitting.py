"""More layers, where the frozen features do not suffice: the training loss stays high."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, base_method, course, mixes, other_method

if TYPE_CHECKING:
    from unfreeze.run import Run

HIGH = 0.3
"""Of the loss of an answer that knows only how frequent the labels are, or the mean."""

UNFREEZE_ALL = 0.5
"""Share of the parameters that learn from which on there is little more to unfreeze."""


def rule(run: Run) -> Advice | None:
    """The training loss at the end beside that of guessing, where few parameters learn."""
    result, epochs = run.result, course(run)
    share = result["learned_parameters"] / result["parameters"]
    guess = _guess(run)
    if guess is None or not epochs or share > UNFREEZE_ALL or run.recipe.method.phases:
        return None
    ratio = epochs[-1][1] / max(guess, 1e-6)
    if ratio < HIGH:
        return None
    more = "last:2" if base_method(run.recipe) == "head" else "full"
    by = "the mean" if result["task"] == "regression" else "the labels' frequency"
    return Advice(
        what=f"Let more layers learn: method {more}",
        why=f"after training the loss on training rows is still {epochs[-1][1]:.2f}, {ratio:.0%} of what guessing by "
        f"{by} gives, and only {share:.1%} of the parameters learn",
        gain=min(0.5, ratio / 2),
        changes=other_method(run.recipe, run.manifest.modality, more),
    )


def _guess(run: Run) -> float | None:
    """The training loss of an answer that ignores the input; None where the run's loss is another quantity."""
    from unfreeze.report.sections.curves import comparable

    training = run.recipe.training
    if run.recipe.method.group_dro:
        return None
    if run.result["task"] == "regression":
        # Targets are standardised, so that their mean is off by 1 squared.
        return 1.0 if training.loss == "mse" and not mixes(run.recipe) else None
    if run.result["task"] != "classification" or not comparable(run) or training.sampling == "group-balanced":
        return None
    counts = [count for count in run.manifest.counts["train"].values() if count]
    if training.sampling == "balanced":
        return math.log(len(counts))
    return -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts)


RULE = rule
