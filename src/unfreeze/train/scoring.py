"""Scoring a feed: inference mode, long rows first, figures streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from unfreeze.tasks._task import Scorer
from unfreeze.train.feed import Feed, to_device
from unfreeze.train.job import Job
from unfreeze.train.order import reading_batches
from unfreeze.train.replaying import Replayed


@torch.inference_mode()
def score(
    job: Job,
    feed: Feed,
    replayed: Replayed | None = None,
    keep: Callable[[Sequence[int], Tensor], None] | None = None,
    exact: bool = False,
) -> Scorer:
    """Run a feed through the model in eval mode.

    Parameters
    ----------
    replayed : Replayed, optional
        Kept features of this feed.
    keep : callable (rows, outputs), optional
        Sees each batch's outputs, to store predictions.
    exact : bool
        In float32, as the saved model predicts, instead of the training's precision.
    """
    scorer = job.task.scorer(job.manifest)
    job.stack.module.eval()
    for rows in reading_batches(feed.lengths, job.evaluation_batch_size):
        with nullcontext() if exact else job.arithmetic():
            if replayed is not None:
                outputs = replayed.outputs(rows, job.device)
            else:
                outputs = job.stack.module(**to_device(feed.batch(rows), job.device))
        outputs = outputs.float().cpu()
        scorer.update(outputs, feed.targets[torch.tensor(rows)])
        if keep is not None:
            keep(rows, outputs)
    return scorer
