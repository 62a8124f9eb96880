"""Compiled passes of training (torch.compile), where a run is long enough to get back what compiling takes.

Only forward and backward passes of updates that read the whole network are compiled, once for batches of any size. What
is replayed, validated or predicted is computed as ever.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unfreeze.errors import RunError
from unfreeze.train.hooks import Hook
from unfreeze.train.job import Job

WORTH = 20_000
"""Updates from which on compiling is taken to pay on a GPU. An estimate, not measured: a minute or two of compiling
against some milliseconds of each update."""

BACKEND = "inductor"


def worth_compiling(device: str, updates: int) -> tuple[bool, str]:
    """Whether passes should be compiled where the recipe leaves it open, and why."""
    if device == "cpu":
        return False, "measured on a CPU: it takes longer than runs of some minutes get back (docs/speed.md)"
    if not device.startswith("cuda"):
        return False, f"plainly is the safe way on {device}"
    if updates < WORTH:
        return False, f"{updates} updates would not get back what compiling takes"
    return True, f"{updates} updates get back what compiling takes"


def training_forward(job: Job) -> Callable[..., Tensor]:
    """What computes the outputs of a batch in an update: the working module, compiled if the recipe says so."""
    module: Callable[..., Tensor] = job.working.module
    if not job.recipe.training.compile:
        return module
    problem = _problem(job)
    if problem:
        job.note(f"training.compile: passes are not compiled, since {problem}")
        return module
    from torch._dynamo.exc import TorchDynamoException  # takes long to import

    compiled = torch.compile(module, dynamic=True, backend=BACKEND)

    def forward(**batch: Tensor) -> Tensor:
        try:
            return compiled(**batch)
        except TorchDynamoException as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise RunError(
                f"training.compile: torch could not compile '{job.recipe.model.name}' on this machine ({reason}). "
                "Compute it plainly: training.compile=false."
            ) from error

    return forward


def _problem(job: Job) -> str:
    """What does not go together with compiled passes."""
    if job.recipe.training.gradient_checkpointing:
        return "training.gradient_checkpointing computes them twice"
    if any(type(hook).term is not Hook.term for hook in job.hooks):
        return "a technique looks into them"
    return ""
