"""Everything that training one run needs, put together by the api and read by the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from unfreeze.data.manifest import Manifest
from unfreeze.methods import Phase
from unfreeze.models.pretrained import Batch, Pretrained
from unfreeze.progress import Progress
from unfreeze.recipe import Recipe
from unfreeze.stack.fused_norms import WORTH, fused_norms
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import Working
from unfreeze.tasks._task import LossOptions, Task
from unfreeze.train.ahead import ahead
from unfreeze.train.feed import Feed, to_device
from unfreeze.train.hooks import Hook
from unfreeze.train.memory import Portions
from unfreeze.train.order import PASS, PASS_ELSEWHERE, TOKENS, reading_batches, training_passes


def reseed(device: torch.device, seed: int) -> None:
    """Seed the generator that a device draws from.

    On a CPU without `torch.manual_seed`, which notes a stack trace for each accelerator that is not in use, every time.
    """
    (torch.default_generator.manual_seed if device.type == "cpu" else torch.manual_seed)(seed)


@dataclass(frozen=True)
class Played:
    """What replay did in a phase: operations of a row below the frontier, and for how many rows they were done.

    Features that another run has left count as computed: a run's figures do not depend on what ran before.
    """

    flops: float
    rows: float


@dataclass
class Job:
    """A run about to be trained. `recipe` is resolved: no field that training reads is None.

    `stack` is the master, which is trained, checked and saved; `working` computes for it. `played` tells of each phase
    that was begun here; None: its frozen layers were computed plainly, if it had any. `computed` are keys of features.
    """

    recipe: Recipe
    manifest: Manifest
    pretrained: Pretrained
    stack: LayerStack
    working: Working
    task: Task
    phases: Sequence[Phase]
    train: Feed
    validation: Feed | None
    folder: Path
    progress: Progress
    device: torch.device
    loss_options: LossOptions
    metric: str
    hooks: Sequence[Hook] = ()
    row_weights: Sequence[float] | None = None
    notes: list[str] = field(default_factory=list)
    played: dict[int, Played | None] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)

    @property
    def batch_size(self) -> int:
        """Rows per update."""
        assert self.recipe.training.batch_size is not None, "the recipe is resolved"
        return self.recipe.training.batch_size

    @property
    def evaluation_batch_size(self) -> int:
        """Rows per forward pass where nothing is learned; of texts that are read by tokens those of the longest."""
        evaluation = self.recipe.evaluation
        if self.reads_by_tokens:
            return max(1, (evaluation.batch_tokens or TOKENS) // self.longest)
        return evaluation.batch_size or 2 * self.batch_size

    @property
    def reads_by_tokens(self) -> bool:
        """Whether batches where nothing is learned have as many tokens each, instead of as many rows."""
        return self.reads_text and self.recipe.evaluation.batch_size is None

    @property
    def longest(self) -> int:
        """Tokens of the longest training text; 1 for images."""
        return max(self.train.lengths, default=1)

    def reading_batches(self, feed: Feed, rows: int | None = None) -> list[list[int]]:
        """Batches of a feed where nothing is learned, the longest texts first.

        Parameters
        ----------
        rows : int, optional
            How many of the longest training texts go together, instead of what the recipe says.
        """
        if not self.reads_by_tokens:
            return reading_batches(feed.lengths, rows or self.evaluation_batch_size)
        asked = self.recipe.evaluation.batch_tokens or TOKENS
        fixed = PASS if self.device.type == "cpu" else PASS_ELSEWHERE
        return reading_batches(feed.lengths, tokens=rows * self.longest if rows else asked, fixed=fixed)

    def in_turn(self, feed: Feed, batches: Sequence[list[int]], epoch: int | None = None) -> Iterator[list[int]]:
        """Batches one by one; while an accelerator computes with one, the images of the next are read.

        On a CPU those that read would take the cores from those that compute, and more than their share.
        """
        return iter(batches) if self.device.type == "cpu" else ahead(feed, batches, epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Updates per pass over the training rows."""
        return -(-len(self.train) // self.batch_size)

    def steps(self, phase: Phase) -> int:
        """Updates of a phase, at most."""
        return max(1, round(phase.epochs * self.steps_per_epoch))

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Groups that learn in any phase, lowest first."""
        ever = {name for phase in self.phases for name in phase.learn}
        return tuple(name for name in self.stack.names if name in ever)

    @cached_property
    def portions(self) -> Portions:
        """How many rows are read at a time where nothing is learned."""
        return Portions(self.note)

    @property
    def reads_text(self) -> bool:
        """Whether rows are sequences of tokens."""
        return self.manifest.modality == "text"

    def passes(self, rows: list[int], learn: Sequence[str]) -> list[list[int]]:
        """Parts of a micro-batch, where its texts are so unlike in length that two passes take less time than one.

        What enters the head has no length. A head that learns alone reads whole batches, whether played back or not.
        """
        fast = self.reads_text and self.device.type == "cpu" and self.recipe.training.fast_kernels
        apart = fast and tuple(learn) != self.stack.names[-1:]
        return training_passes(rows, self.train.lengths) if apart else [rows]

    def batch(self, batch: Batch) -> Batch:
        """A batch where and as the working module reads it."""
        return self.working.laid_out(to_device(batch, self.device))

    def fused(self, rows: int, forward: Callable[[], object]) -> AbstractContextManager[object]:
        """While it lasts, norms that stand still cost nothing, where reading so many rows gains by it.

        Parameters
        ----------
        forward : callable
            Reads one row.
        """
        if rows < WORTH or not self.recipe.training.fast_kernels:
            return nullcontext()
        return fused_norms(self.working.module, forward)

    def note(self, message: str) -> None:
        """Say something that the user should know, once."""
        if message not in self.notes:
            self.notes.append(message)
            self.progress.note(message)
