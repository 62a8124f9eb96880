"""Scoring a feed: inference mode, long rows first, figures streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unfreeze.tasks._task import Scorer
from unfreeze.train.feed import Feed
from unfreeze.train.job import Job
from unfreeze.train.replaying import Replayed
from unfreeze.train.worst_group import grouped


@torch.inference_mode()
def score(
    job: Job,
    feed: Feed,
    replayed: Replayed | None = None,
    keep: Callable[[Sequence[int], Tensor], None] | None = None,
) -> Scorer:
    """Run a feed through the model in eval mode.

    Parameters
    ----------
    replayed : Replayed, optional
        Kept features of this feed.
    keep : callable (rows, outputs), optional
        Sees each batch's outputs, to store predictions.
    """
    groups = grouped(job, feed)
    scorer = job.task.scorer(job.manifest) if groups is None else groups
    job.working.module.eval()
    job.working.refresh(job.learned)

    def read(rows: Sequence[int]) -> Tensor:
        found = replayed.outputs(rows) if replayed is not None else job.working.module(**job.batch(feed.batch(rows)))
        return found.float().cpu()

    with job.fused(len(feed), lambda: read([0])):
        batches = job.reading_batches(feed)
        for batch in job.in_turn(feed, batches) if replayed is None else batches:
            for rows, outputs in job.portions.each(batch, read):
                targets = feed.targets[torch.tensor(rows)]
                scorer.update(outputs, targets)
                if groups is not None:
                    groups.see(rows, outputs, targets)
                if keep is not None:
                    keep(rows, outputs)
    return scorer
