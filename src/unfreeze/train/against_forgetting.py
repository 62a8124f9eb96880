"""The hooks with which a recipe asks for less forgetting, beside L2-SP: ewc, rehearsal, distil."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from unfreeze.data.manifest import Manifest
from unfreeze.data.reference import Reference, read_reference
from unfreeze.errors import RecipeError
from unfreeze.methods import Phase
from unfreeze.models.pretrained import Pretrained
from unfreeze.recipe import Recipe
from unfreeze.train.ewc import ElasticWeights
from unfreeze.train.feature_distillation import FeatureDistillation
from unfreeze.train.feed import Feed
from unfreeze.train.hooks import Hook
from unfreeze.train.rehearsal import Rehearsal


def against_forgetting(
    recipe: Recipe,
    manifest: Manifest,
    pretrained: Pretrained,
    phases: Sequence[Phase],
    train: Feed,
    reasons: dict[str, str],
) -> list[Hook]:
    """The hooks that a resolved recipe asks for; what they do it with is written into the reasons.

    Raises
    ------
    RecipeError
        If rows are to be rehearsed and no set is named.
    DataError
        If the set cannot be used.
    """
    method, source = recipe.method, recipe.evaluation.source
    if not (method.ewc or method.rehearsal or method.distil):
        return []
    if method.rehearsal and source is None:
        raise RecipeError(
            "method.rehearsal mixes in rows of another set, and none is named: give its table, folder or Hub name as "
            "evaluation.source. Without one, method.distil holds the features of the task's own rows."
        )
    batch_size = recipe.training.batch_size
    assert batch_size is not None, "the recipe is resolved"
    at_a_time = min(recipe.training.micro_batch or batch_size, batch_size)
    hooks: list[Hook] = []
    rows = train
    if source is not None and (method.ewc or method.rehearsal):
        rows = _feed(read_reference(source, manifest, recipe.data, recipe.seed), recipe, pretrained)
    if method.ewc:
        groups = list(dict.fromkeys(name for phase in phases for name in phase.learn))
        hooks.append(ElasticWeights(method.ewc, rows, groups, recipe.seed))
        reasons["method.ewc"] = (
            "importance is estimated on the task's own training rows, since evaluation.source names no other set"
            if rows is train
            else f"importance is estimated on rows of {source}"
        )
    if method.rehearsal:
        made = Rehearsal(method.rehearsal, rows, batch_size, at_a_time, recipe.seed)
        hooks.append(made)
        reasons["method.rehearsal"] = f"{made.rows} of {len(rows)} rows of {source} beside {batch_size} of the task"
    if method.distil:
        hooks.append(FeatureDistillation(method.distil, train, at_a_time))
        if train.pipeline is not None:
            reasons["method.distil"] = "rows are augmented, so that each is read a second time as it is"
    return hooks


def _feed(reference: Reference, recipe: Recipe, pretrained: Pretrained) -> Feed:
    """The rows that may be rehearsed, without their labels."""
    examples = reference.rehearsed
    return Feed(examples, torch.zeros(len(examples)), pretrained.preprocess, recipe.data.max_pixels, seed=recipe.seed)
