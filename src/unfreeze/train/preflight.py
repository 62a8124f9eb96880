"""Preflight: before the first step, see that what is supervised is what the user thinks.

A few training rows are decoded back from the tensors that the model will get, next to the target that
the loss will see; the loss and the gradients of one batch are looked at. What is wrong is an error now and
not a loss of 0.0 after hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unfreeze.errors import PreflightError
from unfreeze.models.pretrained import Sample
from unfreeze.stack.frontier import set_modes
from unfreeze.train.job import reseed
from unfreeze.train.memory import Portions

if TYPE_CHECKING:
    from unfreeze.methods import Phase
    from unfreeze.train.job import Job

SHOWN = 3


def preflight(job: Job) -> list[str]:
    """Check the first batch of every phase; return lines that show what is supervised.

    Raises
    ------
    PreflightError
        If the loss is not finite, a learning group gets no gradient, a frozen one gets some, or all targets that
        the batch holds are alike while the manifest counts several.
    """
    _check_targets(job)
    job.train.augmented(0, epoch=0)  # An augmentation that this model cannot have says so now.
    lines = _shown(job, range(min(SHOWN, len(job.train))))
    for phase in job.phases:
        _check_gradients(job, phase)
    job.working.set_learning(())
    return lines


@torch.no_grad()
def _shown(job: Job, rows: Sequence[int]) -> list[str]:
    """What is read, what is supervised and what the untrained head says, for each row."""
    job.working.module.eval()

    def read(rows: Sequence[int]) -> Tensor:
        found: Tensor = job.working.module(**job.batch(job.train.batch(rows))).float().cpu()
        return found

    return [
        f"{describe_sample(job, job.train.sample(row))} → {job.task.show(row_outputs, target, job.manifest)}"
        for some, outputs in job.portions.each(rows, read)
        for row, row_outputs, target in zip(some, outputs, job.train.targets[torch.tensor(some)], strict=True)
    ]


def describe_sample(job: Job, sample: Sample) -> str:
    """What the model reads, decoded from the tensors it gets."""
    describe = getattr(job.pretrained.preprocess, "describe", None)
    if describe is not None:
        return str(describe(sample))
    name, tensor = next(iter(sample.items()))
    return f"{name} of shape {tuple(tensor.shape)}"


def _check_targets(job: Job) -> None:
    if not len(job.train):
        raise PreflightError("There is no training row left.")
    if job.manifest.labels and len(torch.unique(job.train.targets, dim=0)) < 2:
        raise PreflightError(
            f"Every training row has the target {job.train.examples.targets[0]!r}, so there is nothing to tell apart; "
            f"the data name {len(job.manifest.labels)} labels."
        )


def _check_gradients(job: Job, phase: Phase) -> None:
    """One forward and backward pass without an update; in parts, where memory runs out."""
    job.working.set_learning(phase.learn)
    set_modes(job.working.stack, phase.learn)
    # Buffers such as BatchNorm statistics move in a forward pass in training mode: put them back afterwards.
    buffers = {name: buffer.clone() for name, buffer in job.stack.module.named_buffers()}
    reseed(job.device, job.recipe.seed)
    for _ in Portions(job.note).each(_varied_rows(job), partial(_check_loss, job, phase)):
        job.working.collect(job.stack.names)
    without, frozen = _gradients(job, phase)
    for name, buffer in job.stack.module.named_buffers():
        buffer.copy_(buffers[name])
    job.working.set_learning(())
    if without:
        raise PreflightError(f"Phase '{phase.name}': {', '.join(without)} should learn but no gradient reaches them.")
    if frozen:
        raise PreflightError(f"Phase '{phase.name}': {', '.join(frozen)} are frozen but get a gradient.")


def _check_loss(job: Job, phase: Phase, rows: Sequence[int]) -> None:
    """The loss of these rows, and its gradients."""
    outputs = job.working.module(**job.batch(job.train.batch(rows)))
    loss = job.task.loss(outputs.float(), job.train.targets[torch.tensor(rows)].to(job.device), job.loss_options)
    if not float(loss.weight) > 0:
        raise PreflightError(f"Phase '{phase.name}': the first batch supervises nothing (its loss has no weight).")
    mean = loss.total / loss.weight
    value = float(mean.detach())
    if not math.isfinite(value):
        raise PreflightError(f"Phase '{phase.name}': the loss of the first batch is {value:g}, not a finite number.")
    mean.backward()


def _varied_rows(job: Job) -> list[int]:
    """Rows spread over the training split, so that they hold several labels."""
    count = min(len(job.train), max(2, min(8, job.recipe.training.micro_batch or job.batch_size)))
    step = max(1, len(job.train) // count)
    return list(range(0, step * count, step))


def _gradients(job: Job, phase: Phase) -> tuple[Sequence[str], Sequence[str]]:
    """Learning groups without any gradient, and frozen groups with one.

    What a method added to one block counts together: of two factors the first gets none while the second is zero.
    """
    reached = {
        group.name
        for group in job.stack.groups
        if any(p.grad is not None and bool(p.grad.any()) for _, p in job.stack.parameters(group))
    }
    live = {group.beside for group in job.stack.groups if group.beside and group.name in reached}
    learning = [group for group in job.stack.groups if group.name in phase.learn and group.parameters]
    without = [group.name for group in learning if group.name not in reached and group.beside not in live]
    return without, [group.name for group in job.stack.groups if group.name in reached - set(phase.learn)]
