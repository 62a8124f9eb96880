"""Reading further inputs with a run's model: outputs and head inputs, as far as time allows, in a seeded order."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.data.corruptions import CORRUPTIONS
from unfreeze.data.corruptions._corruption import draw_for
from unfreeze.data.manifest import ImageRef, Input
from unfreeze.evaluation.out_of_distribution import entering_head
from unfreeze.evaluation.reading import read
from unfreeze.evidence._context import Context
from unfreeze.models.pretrained import Batch, Preprocessor, Pretrained, Sample
from unfreeze.stack.working import Working
from unfreeze.train.feed import Feed, encode_all
from unfreeze.train.order import generator

TRIED = 32
"""Rows that are read to find out how long a row takes."""

SHARE = 0.5
"""Of the time that is left for evidence, what one part of it takes: others come after it."""


def names_of(sources: Sequence[str]) -> list[str]:
    """Short names of sets: a file's own, or as many folders with it as tell it from the others."""
    parts = [Path(source).parts or (source,) for source in sources]
    found = []
    for own in parts:
        others = [other for other in parts if other != own]
        depth = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
        found.append("/".join(own[-depth:]))
    return found


def in_order(rows: int, seed: int) -> list[int]:
    """Row numbers in the order in which they are read where not all can be."""
    found: list[int] = generator(seed, 7).permutation(rows).tolist()
    return found


def outputs_and_features(
    context: Context, inputs: Sequence[Input], pretrained: Pretrained | None = None, working: Working | None = None
) -> tuple[Tensor, Tensor]:
    """What the model gives for each input, and what enters its head: (inputs, outputs) and (inputs, width)."""
    pretrained, working = pretrained or context.pretrained, working or context.working
    outputs = torch.zeros(len(inputs), context.task.outputs(context.manifest))
    features: Tensor | None = None
    with entering_head(working.module) as entering:
        for rows, some in read(pretrained, working, inputs, context.recipe.evaluation.batch_size):
            entered = entering.features()
            if features is None:
                features = torch.zeros(len(inputs), entered.shape[1])
            outputs[rows], features[rows] = some, entered
    return outputs, torch.zeros(len(inputs), 0) if features is None else features


def affordable(context: Context, inputs: Sequence[Input], share: float, pretrained: Pretrained | None = None) -> float:
    """How many rows can be read in a share of the time that is left, by how long some of them take.

    Reads nothing where there is no limit, or no time.
    """
    left = share * context.time_left()
    if math.isinf(left) or not len(inputs) or left <= 0:
        return math.inf if left > 0 else 0.0
    some = inputs[:TRIED]
    began = time.monotonic()
    outputs_and_features(context, some, pretrained)
    spent = time.monotonic() - began
    return max(0.0, left - spent) / max(spent / len(some), 1e-9)


# ------------------------------------------------------------------------------------------------ corrupted


@dataclass
class Corrupted:
    """A preprocessor that corrupts rows of a feed on their way: what it encodes are places in `rows`.

    Texts are changed before they are cut into tokens, images as the model would see them, after resizing.

    Parameters
    ----------
    rows : sequence of int
        Row numbers in the feed; what is drawn follows from them, `seed` and the corruption's name.
    names : sequence of str
        The corruption of each place.
    severity : int
    changed : int
        How many of the rows that were encoded are not what they were.
    """

    base: Preprocessor
    feed: Feed
    rows: Sequence[int]
    names: Sequence[str]
    severity: int
    seed: int
    changed: int = 0

    def encode_many(self, items: Sequence[Input]) -> list[Sample]:
        """Places as corrupted samples."""
        places = [cast(int, item) for item in items]
        inputs = self.feed.examples.inputs
        if places and isinstance(inputs[self.rows[places[0]]], ImageRef):
            return [self._image(place) for place in places]
        texts = [self._apply(place, inputs[self.rows[place]]) for place in places]
        self.changed += sum(text != inputs[self.rows[place]] for place, text in zip(places, texts, strict=True))
        return encode_all(self.base, texts)

    def encode(self, item: Input) -> Sample:
        """One place."""
        return self.encode_many([item])[0]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """As the model's own."""
        return self.base.collate(samples)

    def length(self, sample: Sample) -> int:
        """As the model's own."""
        return self.base.length(sample)

    def config(self) -> dict[str, Any]:
        """As the model's own, and what is changed."""
        return {**self.base.config(), "corruptions": list(self.names), "severity": self.severity}

    def save(self, folder: Path) -> None:
        """Nobody saves corrupted data."""
        raise NotImplementedError("a corruption is part of an evaluation, not of a model")

    def _apply(self, place: int, item: Any) -> Any:
        name, row = self.names[place], self.rows[place]
        return CORRUPTIONS.get(name).apply(item, self.severity, draw_for(self.seed, name, row))

    def _image(self, place: int) -> Sample:
        sample = self.feed.sample(self.rows[place])
        whole = sample["pixel_values"].numpy()
        # Further channels repeat red, green and blue.
        seen = np.moveaxis(whole[: min(3, len(whole))], 0, -1).astype(np.float32) / np.float32(255)
        seen = seen if seen.shape[-1] in (1, 3) else seen[..., :1]
        corrupted = np.round(self._apply(place, seen) * 255).astype(np.uint8)
        planes: NDArray[np.uint8] = np.moveaxis(corrupted, -1, 0)[np.arange(len(whole)) % corrupted.shape[-1]]
        self.changed += not np.array_equal(planes, whole)
        return {**sample, "pixel_values": torch.from_numpy(np.ascontiguousarray(planes))}

    def model(self, pretrained: Pretrained) -> Pretrained:
        """A model that reads through this."""
        return replace(pretrained, preprocess=self)

    @property
    def places(self) -> Sequence[Input]:
        """The inputs to give such a model."""
        return cast("Sequence[Input]", range(len(self.rows)))
