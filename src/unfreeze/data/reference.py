"""A set that shows what a model could do before it was fine-tuned: one part may be rehearsed, the other is measured on.

The techniques against forgetting and the evidence of it get the same two parts, so that what was kept is never measured
on rows that training held fast.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from unfreeze.data.duplicates import digests, first_rows
from unfreeze.data.manifest import Examples, ImageRef, Manifest
from unfreeze.data.prepare import prepare, unlabelled
from unfreeze.data.sequences import Array, below, picked
from unfreeze.data.splits import draw
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

MOST = 10_000
"""Rows of it that are used at most, both parts together."""

LEAST = 20
"""Fewer rows in a part say nothing."""


@dataclass(frozen=True)
class Reference:
    """A source set in two parts.

    `manifest` tells its own task and labels; None where no target was recognised, for the reason `unlabelled`.
    """

    rehearsed: Examples
    held: Examples
    manifest: Manifest | None = None
    unlabelled: str = ""


def read_reference(path: str, manifest: Manifest, recipe: DataRecipe, seed: int) -> Reference:
    """The source set of a run, in the same two parts each time.

    A set that has splits of its own keeps them: what is not for training is measured on. Any other is halved, and
    duplicates stay together.

    Parameters
    ----------
    path : str
        A table, an image folder or a Hub data set. Its labels may be others than the run's, or it may have none.
    manifest : Manifest
        Of the run's own data.
    recipe : DataRecipe
        The run's, resolved: columns of the same names are read where the set has them.

    Raises
    ------
    DataError
        If it cannot be read, holds another kind of inputs than the model reads, or has too few rows.
    """
    plain = _plain(recipe, path)
    same = replace(plain, text=recipe.text, pair=recipe.pair, image=recipe.image, target=recipe.target)
    why = ""
    for how in (same, plain):
        try:
            prepared = prepare(how, task=None, seed=seed)
        except DataError as error:
            why = str(error)
            continue
        splits = prepared.splits
        held = _joined(splits["validation"], splits["test"])
        return _checked(Reference(splits["train"], held, prepared.manifest), path, manifest)
    try:
        examples, _ = unlabelled(path, manifest, recipe)
    except DataError:
        raise DataError(f"evaluation.source: '{path}' cannot be used. {why}") from None
    return _checked(_halved(examples, seed, why), path, manifest)


def _plain(recipe: DataRecipe, path: str) -> DataRecipe:
    """Everything about the set is recognised; half of it is held out."""
    return DataRecipe(
        path=path,
        separator=recipe.separator,
        encoding=recipe.encoding,
        max_pixels=recipe.max_pixels,
        max_rows=MOST,
        validation_share=0.0,
        test_share=0.5,
    )


def _halved(examples: Examples, seed: int, why: str) -> Reference:
    """Two halves by content, equal inputs together."""
    keys = digests(examples.inputs[:MOST])
    halves = draw(keys, first_rows(keys.view(np.uint64)), [""] * len(keys), {"train": 0.5, "test": 0.5}, seed)
    rehearsed, held = (np.flatnonzero([half == name for half in halves]) for name in ("train", "test"))
    return Reference(_only(examples, rehearsed), _only(examples, held), unlabelled=why)


def _only(examples: Examples, rows: Array) -> Examples:
    return Examples(picked(examples.inputs, rows), picked(examples.targets, rows), picked(examples.origin, rows))


def _joined(one: Examples, other: Examples) -> Examples:
    return Examples(
        below([one.inputs, other.inputs]), below([one.targets, other.targets]), below([one.origin, other.origin])
    )


def _checked(found: Reference, path: str, manifest: Manifest) -> Reference:
    for part in (found.rehearsed, found.held):
        if len(part) < LEAST:
            raise DataError(
                f"evaluation.source: '{path}' has {len(found.rehearsed)} rows to rehearse and {len(found.held)} to "
                f"measure on; expected at least {LEAST} of each."
            )
        kind = "image" if isinstance(part.inputs[0], ImageRef) else "text"
        if kind != manifest.modality:
            raise DataError(f"evaluation.source: '{path}' holds {kind}s, while the model reads {manifest.modality}s.")
    return found
