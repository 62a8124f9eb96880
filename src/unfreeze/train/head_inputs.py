"""What enters the head: the model's frozen part run once per row, for heads that are trained without the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError, UserError
from unfreeze.machine import free_memory
from unfreeze.models.head import Head
from unfreeze.stack.budget import CEILING, in_words
from unfreeze.train.feed import Feed
from unfreeze.train.job import Job
from unfreeze.train.replaying import Replayed, replay_phase
from unfreeze.train.scoring import score


def head_of(job: Job) -> Head:
    """The head of the module that computes.

    Raises
    ------
    ModelError
        If it is more than dropout and one linear layer.
    """
    modules = [module for _, module in job.working.stack.modules(job.stack.groups[-1])]
    if len(modules) != 1 or not isinstance(modules[0], Head):
        parts = ", ".join(type(module).__name__ for module in modules)
        raise ModelError(
            f"The head of '{job.recipe.model.name}' is not one linear layer (it is made of: {parts}), so many heads "
            "cannot be trained together on it. Train one after the other with `unfreeze fit --method head`."
        )
    return modules[0]


def kept_features(job: Job, readings: int) -> dict[int, Replayed]:
    """Features of the job's one phase, found or kept for later runs, by the id of the feed.

    Parameters
    ----------
    readings : int
        How many runs read them: whether keeping pays is decided as for so many times the epochs.
    """
    phase = job.phases[0]
    return replay_phase(replace(job, phases=[replace(phase, epochs=phase.epochs * readings)]), 0)


def head_inputs(job: Job, feed: Feed, replayed: Replayed | None = None) -> Tensor:
    """What enters the head for each row of a feed, in eval mode, as the head computes with it: (rows, width).

    Raises
    ------
    ModelError
        If the model's outputs are not the head's.
    UserError
        If it does not fit into memory.
    """
    head = head_of(job)
    needed, free = len(feed) * head.in_features * head.weight.element_size(), free_memory()
    if job.device.type == "cpu" and needed > CEILING * free:
        raise UserError(
            f"The inputs of the head would take {in_words(needed)} of memory for {len(feed):,} rows, and "
            f"{in_words(free)} are free. Take fewer rows with data.max_rows."
        )
    inputs = torch.empty(len(feed), head.in_features, dtype=head.weight.dtype, device=job.device)
    seen: dict[str, Tensor] = {}

    def see(module: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        seen.update(entering=arguments[0], leaving=outputs)

    def keep(rows: Sequence[int], outputs: Tensor) -> None:
        if seen["entering"].dim() != 2 or not torch.equal(seen["leaving"].float().cpu(), outputs):
            raise ModelError(
                f"The outputs of '{job.recipe.model.name}' are not simply its head's, so many heads cannot be trained "
                "together on it. Train one after the other with `unfreeze fit --method head`."
            )
        inputs[torch.tensor(rows, device=job.device)] = seen["entering"].to(inputs.dtype)

    hook = head.register_forward_hook(see)
    try:
        score(job, feed, replayed, keep)
    finally:
        hook.remove()
    return inputs
