"""BatchNorm's statistics, estimated anew for weights that no step of training has left behind.

The mean of two networks sees other activations than either. Its running means and variances are therefore taken from
training rows once it stands, as Izmailov et al. 2018 (arXiv:1803.05407) do for averaged weights.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from unfreeze.stack.groups import LayerStack
from unfreeze.train.job import Job
from unfreeze.train.order import generator

ROWS = 2048
"""Training rows that are read, in batches that are drawn by seed."""


def norms_of(stack: LayerStack, names: Collection[str]) -> list[_BatchNorm]:
    """The modules of these groups that keep statistics of what they have read."""
    buffers = {name for group in stack.groups if group.name in names for name in group.buffers}
    return [
        module
        for name, module in stack.module.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None and f"{name}.running_mean" in buffers
    ]


@torch.no_grad()
def estimate_statistics(job: Job) -> bool:
    """Estimate the statistics of all groups that learned from rows as predictions read them: without augmentation.

    Every batch counts the same; dropout is off; the count of updates stays as it was. Returns whether there were any
    to estimate.
    """
    norms = norms_of(job.working.stack, job.learned)
    size = min(job.evaluation_batch_size, len(job.train))
    if not norms or size < 2:
        return False
    job.working.refresh(job.learned)
    order = generator(job.recipe.seed, 4).permutation(len(job.train))[:ROWS].tolist()
    batches = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    module = job.working.module.eval()
    before = [(norm.momentum, None if (n := norm.num_batches_tracked) is None else n.clone()) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    try:
        for rows in batches:
            module(**job.batch(job.train.batch(rows)))
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None and count is not None:
                norm.num_batches_tracked.copy_(count)
            norm.eval()
    return True
