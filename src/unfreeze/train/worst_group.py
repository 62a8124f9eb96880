"""The accuracy of the worst group, as a figure that validation can choose by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from unfreeze.data.slices import training_groups
from unfreeze.tasks._bootstrap import wilson_ends
from unfreeze.tasks._task import Scorer
from unfreeze.train.feed import Feed

if TYPE_CHECKING:
    from unfreeze.train.job import Job

METRIC = "worst_group_accuracy"

FEWEST = 10
"""Rows that a group needs in a split, where any has as many: of fewer, chance chooses the worst."""


@dataclass
class GroupedScorer:
    """A task's scorer, and beside it how often the rows of each group are right.

    Parameters
    ----------
    groups : sequence of str
        The group of each row of the feed.
    """

    scorer: Scorer
    groups: Sequence[str]
    right: dict[str, list[int]] = field(default_factory=dict)

    def see(self, rows: Sequence[int], outputs: Tensor, targets: Tensor) -> None:
        """Rows of a batch, with their outputs and targets."""
        hits = (outputs.argmax(dim=-1) == targets).tolist()
        for row, hit in zip(rows, hits, strict=True):
            count = self.right.setdefault(self.groups[row], [0, 0])
            count[0] += hit
            count[1] += 1

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """A batch for the task's own figures."""
        self.scorer.update(outputs, targets)

    def compute(self) -> dict[str, float]:
        """The task's figures and `worst_group_accuracy`."""
        hits, rows = self._worst()
        return {**self.scorer.compute(), METRIC: hits / rows if rows else float("nan")}

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        """The task's intervals, and that of the group which is worst."""
        hits, rows = self._worst()
        found = self.scorer.intervals(resamples, seed)
        if not resamples or rows < 2:
            return found
        drawn = np.random.default_rng(seed).binomial(rows, hits / rows, size=resamples) / rows
        below, above = wilson_ends(hits / rows, rows)
        low, high = (float(edge) for edge in np.percentile(drawn, [2.5, 97.5]))
        return {**found, METRIC: (min(low, below), max(high, above))}

    def _worst(self) -> tuple[int, int]:
        """Right answers and rows of the worst group."""
        large = [count for count in self.right.values() if count[1] >= FEWEST] or list(self.right.values())
        hits, rows = min(large, key=lambda count: count[0] / count[1], default=[0, 0])
        return hits, rows


def grouped(job: Job, feed: Feed) -> GroupedScorer | None:
    """A scorer with groups, where the worst of them is what validation chooses by."""
    if job.metric != METRIC:
        return None
    groups = training_groups(feed.examples, job.manifest, job.recipe.training.groups)
    few = [name for name, rows in Counter(groups).items() if rows < FEWEST]
    if few and len(few) < len(set(groups)):
        job.note(
            f"{METRIC} leaves out groups with fewer than {FEWEST} rows in a split; for instance '{few[0]}' "
            f"({len(few)} of {len(set(groups))} groups)"
        )
    return GroupedScorer(job.task.scorer(job.manifest), groups)
