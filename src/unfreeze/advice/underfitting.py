"""More layers, where the frozen features do not suffice: the training loss stays high."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, course, left

if TYPE_CHECKING:
    from unfreeze.run import Run

HIGH = 0.3
"""Of the loss of an answer that knows only how frequent the labels are."""

UNFREEZE_ALL = 0.5
"""Share of the parameters that learn from which on there is little more to unfreeze."""


def rule(run: Run) -> Advice | None:
    """The training loss at the end beside that of guessing, where few parameters learn."""
    result, epochs = run.result, course(run)
    share = result["learned_parameters"] / result["parameters"]
    if result["task"] != "classification" or not epochs or share > UNFREEZE_ALL or run.recipe.method.phases:
        return None
    counts = [count for count in run.manifest.counts["train"].values() if count]
    guess = -sum(count / sum(counts) * math.log(count / sum(counts)) for count in counts)
    ratio = epochs[-1][1] / max(guess, 1e-6)
    missing = left(run)
    if ratio < HIGH or missing is None:
        return None
    more = "last:2" if run.recipe.method.name == "head" else "full"
    return Advice(
        what=f"Let more layers learn: method {more}",
        why=f"after training the loss on training rows is still {epochs[-1][1]:.2f}, {ratio:.0%} of what guessing by "
        f"the labels' frequency gives, and only {share:.1%} of the parameters learn",
        gain=min(0.5, ratio / 2),
        changes={"method.name": more, "method.options": {}, "training.lr": None, "training.head_lr": None},
    )


RULE = rule
