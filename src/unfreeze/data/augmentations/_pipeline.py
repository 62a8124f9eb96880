"""Augmentations put together from the names in a recipe. All randomness comes from the generator given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unfreeze.data.augmentations import AUGMENTATIONS
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.manifest import Modality
from unfreeze.errors import RecipeError, UserError

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor

Change = Callable[..., Any]


@dataclass(frozen=True)
class Pipeline:
    """Random changes of training data, by level; without any, everything passes unchanged."""

    names: tuple[str, ...] = ()
    inputs: tuple[Change, ...] = ()
    samples: tuple[Change, ...] = ()
    batches: tuple[Change, ...] = ()

    @property
    def changes_rows(self) -> bool:
        """Whether a row looks different each time it is read, before it is part of a batch."""
        return bool(self.inputs or self.samples)

    @property
    def mixes(self) -> bool:
        """Whether batches are mixed, and targets become soft."""
        return bool(self.batches)

    def input(self, x: Any, rng: Generator) -> Any:
        """A text, pair of texts or decoded image, changed."""
        for change in self.inputs:
            x = change(x, rng)
        return x

    def sample(self, sample: dict[str, Tensor], rng: Generator, facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """An encoded sample, changed; `facts` holds `mask_id`, `special_ids`, `vocabulary`."""
        for change in self.samples:
            sample = change(sample, rng, facts)
        return sample

    def batch(self, batch: dict[str, Tensor], soft_targets: Tensor, rng: Generator) -> tuple[dict[str, Tensor], Tensor]:
        """A batch and its targets, mixed in one way, drawn anew for each batch when there are several."""
        if not self.batches:
            return batch, soft_targets
        change = self.batches[int(rng.integers(len(self.batches)))]
        mixed: tuple[dict[str, Tensor], Tensor] = change(batch, soft_targets, rng)
        return mixed


def build(names: Sequence[str], modality: Modality) -> Pipeline:
    """The pipeline of augmentations such as `crop:0.5`, each level in the augmentations' own order.

    Raises
    ------
    RecipeError
        With every name that is unknown, repeated, of the other modality, or has a bad argument.
    """
    problems: list[str] = []
    found: list[tuple[Augmentation, Change]] = []
    for name in names:
        try:
            found.append(_make(name, modality))
        except UserError as error:
            problems.append(str(error))
    kinds = [name.partition(":")[0].replace("_", "-") for name in names]
    problems += [f"training.augment: '{kind}' is given twice." for kind in set(kinds) if kinds.count(kind) > 1]
    if problems:
        raise RecipeError(problems)
    found.sort(key=lambda pair: pair[0].order)
    levels = {level: tuple(change for entry, change in found if entry.level == level) for level in LEVELS}
    return Pipeline(tuple(names), levels["input"], levels["sample"], levels["batch"])


LEVELS = ("input", "sample", "batch")


def _make(name: str, modality: Modality) -> tuple[Augmentation, Change]:
    kind, colon, argument = name.partition(":")
    try:
        entry = AUGMENTATIONS.get(kind)
    except UserError as error:
        raise RecipeError(f"training.augment: {error}") from None
    if entry.modality != modality:
        known = ", ".join(other for other, entry in AUGMENTATIONS.items() if entry.modality == modality)
        raise RecipeError(
            f"training.augment: '{kind}' is for {entry.modality} data, these are {modality} data. Known: {known}."
        )
    return entry, entry.make(argument if colon else None)
