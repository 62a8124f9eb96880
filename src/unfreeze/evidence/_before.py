"""Features of the model as it was before training, read once for all evidence that needs them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from unfreeze.evaluation.kept import keeping
from unfreeze.evidence._context import Context
from unfreeze.evidence._features import computing, head_features
from unfreeze.evidence._reading import TRIED, outputs_and_features
from unfreeze.models.load import load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.frontier import frontier
from unfreeze.stack.working import Working
from unfreeze.train.order import reading_batches
from unfreeze.train.replaying import Replayed

PORTION = 32
"""Rows that are read at a time at the least: fewer take nearly as long."""

MOSTLY = 0.7
"""Of the rows for which there seems to be time, how many are read at once: alike lengths make full batches."""

LOADING = 0.25
"""About what it takes to load a small model again, in seconds."""

SMALL = 25e6
"""Parameters of a small model: loading and comparing take longer of a larger one."""


@dataclass
class Reading:
    """What was read of a split so far: its rows in a seeded random order, of which the first ones are done."""

    order: list[int]
    features: list[Tensor] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Rows read."""
        return sum(len(part) for part in self.features)

    def next(self, rows: int) -> list[int]:
        """The next rows to be read."""
        return self.order[self.done : self.done + rows]

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
    left = share * max(0.0, context.time_left() - seconds_to_load(context))
    rows = left / (seconds_of_a_row(context) * work_of_a_row(context, split)) if left else 0.0
    return rows + (reading.done if reading else 0)


def seconds_to_read(context: Context, split: str, rows: int) -> float:
    """About what it takes to have the features of so many rows before training, beside loading."""
    if kept_anyway(context, split):
        return 0.0
    reading = context.shared.get("features before", {}).get(split)
    missing = max(0, min(rows, len(context.feeds[split])) - (reading.done if reading else 0))
    return missing * seconds_of_a_row(context) * work_of_a_row(context, split)


def work_of_a_row(context: Context, split: str) -> float:
    """About how much more or less a row is to compute than one that was scored: by its length, and by what was kept."""
    scored, lengths = context.feeds.get("test", context.feeds["train"]).lengths, context.feeds[split].lengths
    longer = sum(lengths) / len(lengths) / max(1e-9, sum(scored) / len(scored))
    if split != "train" or context.replayed is None or context.pretrained.additions:
        return longer
    names = context.stack.names
    return longer * (1 - frontier(names, context.job.phases[-1].learn) / len(names))


def rows_in_time(context: Context, passes: float) -> float:
    """Rows that can be read so often in the time left."""
    left = max(0.0, context.time_left())
    return left / (passes * seconds_of_a_row(context)) if 0 < left < math.inf else left


def seconds_to_load(context: Context) -> float:
    """About what it takes to have what reads features before training."""
    there = only_the_head_learned(context) or "working before" in context.shared
    return 0.0 if there else LOADING * size(context)


def size(context: Context) -> float:
    """How many times a small model's the parameters are; at least one."""
    return max(1.0, context.pretrained.provenance.parameters / SMALL)


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
    wanted = min(most, len(reading.order))
    if reading.done < wanted and not kept_anyway(context, split):
        load_before(context)  # ahead of the clock
    ends = time.monotonic() + seconds
    while reading.done < wanted and (left := ends - time.monotonic()) > 0:
        row = 0.0 if math.isinf(left) else seconds_of_a_row(context) * work_of_a_row(context, split)
        in_time = int(MOSTLY * left / row) if row else wanted
        if reading.done and in_time < PORTION:
            break
        _read_on(context, split, reading, min(max(PORTION, in_time), wanted - reading.done))
    return reading.first(most)


def _read_on(context: Context, split: str, reading: Reading, rows: int) -> None:
    """The next rows, from what the run kept of them where it can be had."""
    some, played = reading.next(rows), _played(context, split)
    if played is not None:
        reading.features.append(_played_back(played, some))
        return
    model, working = load_before(context)
    inputs = [context.feeds[split].examples.inputs[row] for row in some]
    reading.features.append(head_features(model, working, inputs, context.job.evaluation_batch_size))


def _played(context: Context, split: str) -> Replayed | None:
    """What plays the run's frozen layers back into those above them as they were before training."""
    if split != "train" or context.replayed is None:
        return None
    if only_the_head_learned(context):
        return context.replayed
    if context.pretrained.additions:  # before training the network is built otherwise
        return None
    if "played before" not in context.shared:
        _, working = load_before(context)
        replay = context.replayed.replay.of(working.module)
        context.shared["played before"] = replace(context.replayed, replay=replay)
    found: Replayed = context.shared["played before"]
    return found


@torch.inference_mode()
def _played_back(played: Replayed, rows: Sequence[int]) -> Tensor:
    """What enters the head for these rows: float32 of shape (rows, width)."""
    module, lengths = played.replay.module.eval(), played.feed.lengths
    with keeping(module, len(rows)) as keeper:
        for batch in reading_batches([lengths[row] for row in rows], played.job.evaluation_batch_size):
            outputs = played.job.portions.each(batch, lambda part: played.outputs([rows[place] for place in part]))
            for part, found in outputs:
                keeper.keep(part, found.float().cpu())
    return keeper.kept().features
