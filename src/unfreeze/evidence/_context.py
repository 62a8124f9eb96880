"""What evidence is made from: a finished run's data, model and outputs, each computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfreeze.data.manifest import Manifest
from unfreeze.evaluation.kept import Kept
from unfreeze.models.load import load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import tune
from unfreeze.recipe import Recipe
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import Working
from unfreeze.tasks._task import Task
from unfreeze.train.feed import Feed
from unfreeze.train.job import Job
from unfreeze.train.replaying import Replayed

LEAST_SECONDS = 1.5
"""What the report may take of a run however short."""

WRITING_SECONDS = 0.2
"""About what the writing takes of that; the rest is for evidence."""

FIRST = 0.6
"""Of the time that nobody needs, the least part of the next kind of evidence."""


EVERY = 10.0
"""Seconds after which what takes long says what it is at."""


@dataclass
class Context:
    """A trained job with its best weights in place, and everything that evidence may reuse.

    Parameters
    ----------
    job : Job
        Its module holds the best weights; `job.working` computes with them in the run's precision.
    test : Feed or None
    result : mapping
        What result.json will hold.
    kept : mapping of split name to Kept
        Outputs and head inputs of validation and test, kept while they were scored.
    method : str
        The registered method's name without its argument; "" for written phases alone.
    found : dict
        Evidence collected so far, by name.
    replayed : Replayed, optional
        What the frozen layers gave for each training row, where the run played it back to the end.
    seconds : float
        What costly evidence may take together, from when the context was made.
    shared : dict
        What one kind of evidence has computed and another can use, such as features of the model before.
    """

    job: Job
    test: Feed | None
    result: Mapping[str, Any]
    kept: Mapping[str, Kept]
    method: str = ""
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    replayed: Replayed | None = None
    seconds: float = float("inf")
    shared: dict[str, Any] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _until: float = float("inf")
    _told: float = field(default_factory=time.monotonic)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.job.recipe

    @property
    def manifest(self) -> Manifest:
        """What the data turned out to be."""
        return self.job.manifest

    @property
    def task(self) -> Task:
        """What is predicted."""
        return self.job.task

    @property
    def folder(self) -> Path:
        """The run's folder; RUN/model holds the saved model already."""
        return self.job.folder

    @property
    def pretrained(self) -> Pretrained:
        """The fine-tuned model."""
        return self.job.pretrained

    @property
    def stack(self) -> LayerStack:
        """The fine-tuned model's layer groups."""
        return self.job.stack

    @property
    def working(self) -> Working:
        """What computes."""
        return self.job.working

    @property
    def feeds(self) -> dict[str, Feed]:
        """Splits that have rows: always train, perhaps validation and test."""
        feeds = {"train": self.job.train, "validation": self.job.validation, "test": self.test}
        return {name: feed for name, feed in feeds.items() if feed is not None and len(feed)}

    @property
    def judged(self) -> str:
        """The split that figures are reported on: test, or validation where there is no test; "" without either."""
        return next((name for name in ("test", "validation") if name in self.kept), "")

    def outputs(self, split: str) -> Tensor:
        """The model's outputs for each row of validation or test, of shape (rows, outputs), float32 on the CPU."""
        return self.kept[split].outputs

    def features(self, split: str) -> Tensor:
        """What enters the head for each row of validation or test, of shape (rows, width), float32 on the CPU."""
        return self.kept[split].features

    def targets(self, split: str) -> Tensor:
        """Encoded targets of a split, of shape (rows, …)."""
        return self.feeds[split].targets

    @cached_property
    def before(self) -> Pretrained:
        """The model as it was before training, with its new head: loaded again as the plan loaded it."""
        recipe = self.recipe
        from unfreeze.methods import METHODS

        method = METHODS.get(self.method) if self.method else None
        torch.manual_seed(recipe.seed)
        found = load_pretrained(
            recipe.model,
            modality=self.manifest.modality,
            outputs=self.task.outputs(self.manifest),
            seed=recipe.seed,
            random_weights=method is not None and method.random_weights,
        )
        if method is not None:
            tune(found, self.method, recipe.method.options)
        return found

    def time_left(self) -> float:
        """Seconds that the kind of evidence at hand may still take."""
        return min(self.whole_time_left(), self._until - time.monotonic())

    def whole_time_left(self) -> float:
        """Seconds that this and all further kinds of evidence may still take."""
        return self.seconds - (time.monotonic() - self._began)

    def at_work_on(self, what: str) -> None:
        """Tell what is being done, if nothing was told for a while."""
        if time.monotonic() - self._told >= EVERY:
            self.job.progress.stage(f"collecting evidence: {what}")
            self._told = time.monotonic()

    def share_among(self, needs: Sequence[float]) -> None:
        """Give the kind at hand its part of what is left.

        Each kind has what it needs at the least, as long as there is time for it, the first ones first. Of what nobody
        needs what comes first has most, since the report leans on it most; what it leaves goes to the others.

        Parameters
        ----------
        needs : sequence of float
            Seconds of the kind at hand, and of those that still wait.
        """
        self._until = float("inf")
        spare, own = self.time_left() - needs[0], needs[0]
        for need in needs[1:]:
            spare -= need if need <= spare else 0.0
        self._until = time.monotonic() + own + min(0.0, spare) + max(0.0, spare) * max(1 / len(needs), FIRST)
