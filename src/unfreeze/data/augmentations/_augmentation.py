"""What an augmentation is: a random change of one input, one encoded sample or one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from unfreeze.data.manifest import Modality
from unfreeze.registry import Card


@dataclass(frozen=True)
class Augmentation:
    """A named random change.

    Parameters
    ----------
    card : Card
    modality : "text" or "image"
    level : "input", "sample" or "batch"
        What `make(argument)` returns a function of:
        "input": (str or PIL image, numpy.random.Generator) -> the same kind;
        "sample": (encoded Sample, numpy.random.Generator, facts) -> Sample, for token-level changes; `facts`
        holds `mask_id`, `special_ids`, `vocabulary`;
        "batch": (Batch, soft targets (rows, classes), numpy.random.Generator) -> both, changed (mixup, cutmix).
    make : callable (argument: str or None) -> function
        `argument` is what follows the colon in `mixup:0.2`. Raises RecipeError on a bad one.
    order : int
        Augmentations of a level are applied in this order.
    """

    card: Card
    modality: Modality
    level: Literal["input", "sample", "batch"]
    make: Callable[[str | None], Callable[..., Any]]
    order: int = 0
