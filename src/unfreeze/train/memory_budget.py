"""A budget of memory: what a recipe leaves open is chosen so that the forecast stays within it.

What changes the least comes first: smaller micro-batches, then freed memory that is returned at once, activations that
are computed twice, the optimizer's state in eight bits, kept features on disk. Only the state changes what is learned
beyond rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

from unfreeze.errors import RecipeError
from unfreeze.methods import Phase
from unfreeze.stack.budget import in_words, parse_size
from unfreeze.stack.gradient_checkpointing import blocks, recomputing
from unfreeze.train.feed import Feed
from unfreeze.train.forecast import Forecast, Needs, Setting, forecast_of, needs_of, setting_of
from unfreeze.train.job import Job
from unfreeze.train.replaying import Expected, expectations

RESERVE = 0.95
"""What is chosen takes so much of the budget, so that the same recipe, read again, is found to fit."""

SMALL_STATE = {"adamw": "adamw-8bit"}

Peaks: TypeAlias = Callable[[Setting], tuple[int, int]]
"""The most bytes that a setting takes while it learns, and while it does anything else."""


@dataclass(frozen=True)
class Savings:
    """Which of the larger changes may be made."""

    return_memory: bool = True
    checkpointing: bool = True
    small_state: bool = True
    on_disk: bool = True


@dataclass(frozen=True)
class Chosen:
    """Options by dotted key, each with its reason, and what the run then takes."""

    values: Mapping[str, Any]
    reasons: Mapping[str, str]
    forecast: Forecast


def fit_into_budget(job: Job, test: Feed | None, decided: Mapping[str, str]) -> Chosen:
    """What to choose so that a job stays within its recipe's `training.memory_budget`.

    Parameters
    ----------
    decided : mapping
        Reasons by dotted key of the options that the recipe left open.

    Raises
    ------
    RecipeError
        If nothing would do; the message names the smallest budget that would, and what helps further.
    """
    words = job.recipe.training.memory_budget
    assert words is not None, "there is a budget"
    budget, savings = parse_size(words), _savings(job, decided)
    needs = _Measured(job, test, savings)
    start = setting_of(job)
    setting = start if max(needs.peaks(start)) <= budget else choose(start, int(RESERVE * budget), needs.peaks, savings)
    if setting is None:
        raise RecipeError(_refusal(job, test, words, needs, savings))
    found = needs.forecast(setting)
    return Chosen(*_written(job, start, setting, max(needs.peaks(start)), found.peak.bytes), found)


def choose(start: Setting, limit: int, peaks: Peaks, savings: Savings) -> Setting | None:
    """The setting that changes the least of those that take at most `limit` bytes; None if there is none."""
    for setting in variants(start, savings):
        sized = (replace(setting, micro_batch=rows) for rows in halvings(start.micro_batch))
        learning = next((one for one in sized if peaks(one)[0] <= limit), None)
        if learning is not None:
            sized = (replace(learning, evaluation_rows=rows) for rows in halvings(start.evaluation_rows))
            found = next((one for one in sized if peaks(one)[1] <= limit), None)
            if found is not None:
                return found
    return None


def variants(start: Setting, savings: Savings) -> Iterator[Setting]:
    """The setting, and all ways to change it beyond the number of rows: the first change varies fastest."""
    passes, optimizers, places = [(start.checkpointing, start.return_memory)], [start.optimizer], [start.in_memory]
    if savings.return_memory:
        passes.append((start.checkpointing, True))
    if savings.checkpointing:
        passes.append((True, start.return_memory or savings.return_memory))
    if savings.small_state:
        optimizers.append(SMALL_STATE[start.optimizer])
    if savings.on_disk:
        places.append(False)
    for in_memory, optimizer, (twice, returned) in product(places, optimizers, passes):
        yield replace(start, in_memory=in_memory, optimizer=optimizer, checkpointing=twice, return_memory=returned)


def least(start: Setting, peaks: Peaks, savings: Savings) -> int:
    """Bytes of the smallest budget with which anything can be chosen."""
    smallest = replace(start, micro_batch=1, evaluation_rows=1)
    return math.ceil(min(max(peaks(setting)) for setting in variants(smallest, savings)) / RESERVE)


def as_size(count: int) -> str:
    """Bytes as a budget is written, rounded up: "840MB", "2.34GB"."""
    tens = math.ceil(count / 10**7)
    return f"{10 * tens}MB" if tens < 100 else f"{tens / 100:.2f}GB"


def halvings(rows: int) -> list[int]:
    """So many rows, and every power of two below."""
    return [rows, *(2**power for power in reversed(range((rows - 1).bit_length())))]


class _Measured:
    """What a job takes, with and without gradient checkpointing: measured when it is first asked for."""

    def __init__(self, job: Job, test: Feed | None, savings: Savings) -> None:
        self.job, self.test, self.savings = job, test, savings
        self.expected: list[Expected] = expectations(job)
        self._needs: dict[bool, Needs] = {}

    def needs(self, checkpointing: bool) -> Needs:
        own = bool(self.job.recipe.training.gradient_checkpointing)
        if checkpointing not in self._needs:
            if checkpointing and not own:
                with recomputing(self.job.working.stack):
                    self._needs[True] = needs_of(self.job, self.test, self.expected)
            else:
                self._needs[checkpointing] = needs_of(self.job, self.test, self.expected)
        return self._needs[checkpointing]

    def peaks(self, setting: Setting) -> tuple[int, int]:
        moments = self.needs(setting.checkpointing).moments(setting)
        learning, other = ([m.bytes for m in moments if m.learns is learns] for learns in (True, False))
        return max(learning, default=0), max(other, default=0)

    def forecast(self, setting: Setting) -> Forecast:
        return forecast_of(self.needs(setting.checkpointing), setting)


def _savings(job: Job, decided: Mapping[str, str]) -> Savings:
    """What the recipe leaves open and the model allows."""
    return Savings(
        return_memory="training.return_memory" in decided and job.device.type == "cpu",
        checkpointing="training.gradient_checkpointing" in decided and bool(blocks(job.working.stack)),
        small_state=job.recipe.training.optimizer in SMALL_STATE,
        on_disk=job.recipe.training.cache_budget is None,
    )


def _written(
    job: Job, start: Setting, setting: Setting, before: int, after: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """The options that differ, each with its reason."""
    budget = job.recipe.training.memory_budget
    how = f"memory_budget {budget}: {in_words(after)} at the fullest instead of {in_words(before)}"
    unit, size = ("tokens", job.longest) if job.reads_by_tokens else ("size", 1)
    reading = (start.evaluation_rows * size, setting.evaluation_rows * size, "fewer rows are read at a time")
    changes = {
        "training.micro_batch": (start.micro_batch, setting.micro_batch, "the batch itself stays"),
        f"evaluation.batch_{unit}": reading,
        "training.return_memory": (start.return_memory, setting.return_memory, "at the cost of some time"),
        "training.gradient_checkpointing": (start.checkpointing, setting.checkpointing, "a third more arithmetic"),
        "training.optimizer": (start.optimizer, setting.optimizer, "a quarter of its state"),
        "training.cache_budget": (start.in_memory, setting.in_memory, "kept features stand on disk"),
    }
    different = {key: (new, why) for key, (old, new, why) in changes.items() if new != old}
    values = {key: "disk" if key == "training.cache_budget" else new for key, (new, _) in different.items()}
    reasons = {key: f"{how}; {why}" for key, (_, why) in different.items()}
    return values, reasons or {"training.memory_budget": f"{in_words(after)} at the fullest: nothing has to change"}


def _refusal(job: Job, test: Feed | None, budget: str, needs: _Measured, savings: Savings) -> str:
    start = setting_of(job)
    smallest = least(start, needs.peaks, savings)
    itself = needs.needs(start.checkpointing)
    lower = _method_that_fits(job, test, budget, savings)
    helps = f"`--method {lower}`, which learns in fewer layers, would fit; else " if lower else ""
    return (
        f"training.memory_budget: {budget} is not enough. The smallest that would do is {as_size(smallest)}, of which "
        f"{in_words(itself.process + itself.weights + itself.copy)} are there before training. What helps: {helps}"
        "a lower model.max_length or model.image_size, or a smaller model."
    )


def _method_that_fits(job: Job, test: Feed | None, budget: str, savings: Savings) -> str | None:
    """The one with the lowest frontier of some above the job's own."""
    names, own = job.stack.names, len(job.learned)
    for count in sorted({own // 2, 2, 1} - {0}, reverse=True):
        if count < own:
            phase = Phase(name="lower", learn=names[-count:], epochs=sum(phase.epochs for phase in job.phases))
            lower = replace(job, phases=(phase,))
            needs = _Measured(lower, test, savings)
            if choose(setting_of(lower), int(RESERVE * parse_size(budget)), needs.peaks, savings):
                return "head" if count == 1 else f"last:{count}"
    return None
