"""Features of the model as it was before training, read once for all evidence that needs them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from unfreeze.evaluation.kept import keeping
from unfreeze.evidence._context import Context
from unfreeze.evidence._features import computing, head_features
from unfreeze.evidence._reading import TRIED, outputs_and_features
from unfreeze.models.load import load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.working import Working
from unfreeze.train.replaying import Replayed

PORTION = 64
"""Rows between two looks at the clock."""

LOADING = 0.5
"""About what it takes to load the model again, in seconds."""


@dataclass
class Reading:
    """What was read of a split so far: its rows in a seeded random order, of which the first ones are done."""

    order: list[int]
    features: list[Tensor] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Rows read."""
        return sum(len(part) for part in self.features)

    def next(self) -> list[int]:
        """The rows to be read now."""
        return self.order[self.done : self.done + PORTION]

    def first(self, rows: int) -> tuple[list[int], Tensor]:
        """The first rows and their features, of shape (rows, width)."""
        count = min(rows, self.done)
        return self.order[:count], torch.cat(self.features)[:count] if count else torch.zeros(0, 0)


def only_the_head_learned(context: Context) -> bool:
    """Whether the features are the same before and after training."""
    return tuple(context.job.learned) == context.stack.names[-1:]


def began_at_random(context: Context) -> bool:
    """Whether there was no pre-trained model to compare with."""
    from unfreeze.methods import METHODS

    return bool(context.method) and METHODS.get(context.method).random_weights


def untouched(context: Context) -> Pretrained:
    """The network before training, without what a method puts in: a fresh prompt would change its features."""
    if not context.pretrained.additions:
        return context.before
    if "untouched" not in context.shared:
        context.shared["untouched"] = load_pretrained(
            context.recipe.model,
            modality=context.manifest.modality,
            outputs=context.task.outputs(context.manifest),
            seed=context.recipe.seed,
        )
    found: Pretrained = context.shared["untouched"]
    return found


def readable(context: Context, split: str, share: float) -> float:
    """Rows of a split whose features before training can be had in a share of the time left, by what scoring took."""
    if kept_anyway(context, split):
        return math.inf
    reading = context.shared.get("features before", {}).get(split)
    loading = 0.0 if "working before" in context.shared else LOADING
    rows = share * max(0.0, context.time_left() - loading) / seconds_of_a_row(context)
    return rows + (reading.done if reading else 0)


def rows_in_time(context: Context, passes: int, loads: int = 0) -> float:
    """Rows that can be read so often in the time left, with so many models loaded before."""
    return max(0.0, context.time_left() - loads * LOADING) / (passes * seconds_of_a_row(context))


def seconds_of_a_row(context: Context) -> float:
    """What reading a test row has taken; without a test split, what reading some training rows takes."""
    scored = (context.result.get("cost") or {}).get("scored")
    if scored and scored["seconds"]:
        return float(scored["seconds"] / scored["rows"])
    if "seconds of a row" not in context.shared:
        inputs = context.feeds["train"].examples.inputs
        some = [inputs[row] for row in range(min(TRIED, len(inputs)))]
        began = time.monotonic()
        outputs_and_features(context, some)
        context.shared["seconds of a row"] = max(1e-9, time.monotonic() - began) / len(some)
    return float(context.shared["seconds of a row"])


def kept_anyway(context: Context, split: str) -> bool:
    """Whether the run's own features are those before training, and were kept."""
    return only_the_head_learned(context) and (
        split in context.kept or (split == "train" and context.replayed is not None)
    )


def load_before(context: Context) -> tuple[Pretrained, Working]:
    """What reads features before training, loaded once."""
    model = context.pretrained if only_the_head_learned(context) else untouched(context)
    if "working before" not in context.shared:
        context.shared["working before"] = computing(context, model)
    return model, context.shared["working before"]


def features_before(context: Context, split: str, most: int, seconds: float) -> tuple[list[int], Tensor]:
    """What entered the head for some rows of a split, before training.

    Rows are a seeded sample. Another call continues where the last one stopped, so that nothing is read twice.

    Parameters
    ----------
    most : int
        Rows wanted; fewer are read where the time is over.

    Returns
    -------
    list of int, and Tensor of shape (rows, width) in float32 on the CPU
    """
    readings: dict[str, Reading] = context.shared.setdefault("features before", {})
    if split not in readings:
        draw = np.random.default_rng([context.recipe.seed, len(context.feeds[split])])
        readings[split] = Reading(draw.permutation(len(context.feeds[split])).tolist())
    reading = readings[split]
    if only_the_head_learned(context) and split in context.kept:
        reading.features = [context.features(split)[torch.tensor(reading.order)]]
    ends = time.monotonic() + seconds
    while reading.done < min(most, len(reading.order)) and time.monotonic() < ends:
        _read_on(context, split, reading)
    return reading.first(most)


def _read_on(context: Context, split: str, reading: Reading) -> None:
    """The next rows, from what the run kept of them where it can be had."""
    if split == "train" and context.replayed is not None and only_the_head_learned(context):
        reading.features.append(_played_back(context.working, context.replayed, reading.next()))
        return
    model, working = load_before(context)
    inputs = [context.feeds[split].examples.inputs[row] for row in reading.next()]
    reading.features.append(head_features(model, working, inputs, context.job.evaluation_batch_size))


@torch.inference_mode()
def _played_back(working: Working, replayed: Replayed, rows: Sequence[int]) -> Tensor:
    """What enters the head for these rows: float32 of shape (rows, width)."""
    working.module.eval()
    with keeping(working.module, len(rows)) as keeper:
        keeper.keep(range(len(rows)), replayed.outputs(rows).float().cpu())
    return keeper.kept().features
