"""The plan: everything that `fit` would do, made without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from unfreeze.data.audit import longer_than_model
from unfreeze.data.manifest import Examples, Manifest, Modality, Prepared
from unfreeze.data.prepare import prepare
from unfreeze.methods import METHODS, Phase
from unfreeze.methods._parse import all_settings, parse_method
from unfreeze.models.load import describe, load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import tune
from unfreeze.progress import Progress, Silent
from unfreeze.recipe import Recipe
from unfreeze.resolve import check_early, pipeline_of, resolve, task_of
from unfreeze.stack.budget import parse_size
from unfreeze.stack.groups import LayerStack
from unfreeze.tasks._task import Task
from unfreeze.train.feed import MEMO_BYTES, Feed, make_feed
from unfreeze.train.forecast import Forecast
from unfreeze.train.loop import phase_rate

LENGTH_SAMPLE = 5000
"""Training texts whose length is looked at in the audit."""


IMAGES_SHARE = 20
"""Decoded images of each split are kept up to this part of a budget of memory."""


@dataclass(frozen=True)
class LayerRow:
    """One layer group in the plan: `learns[phase index]` is its highest rate in each phase in which it learns."""

    name: str
    parameters: int
    learns: dict[int, float]


@dataclass
class Plan:
    """A resolved recipe with its reasons, what the data are, and what each layer group does when.

    `tuning` says what the method changed in the model, such as the layers that it put something beside. `forecast` says
    what a run will take; it is there where a plan was asked for, or a budget of memory.
    """

    recipe: Recipe
    reasons: dict[str, str]
    manifest: Manifest
    phases: tuple[Phase, ...]
    layers: list[LayerRow]
    notes: list[str]
    preflight: list[str]
    replay: list[str]
    tuning: list[str]
    steps_per_epoch: int
    total_parameters: int
    prepared: Prepared = field(repr=False)
    pretrained: Pretrained = field(repr=False)
    stack: LayerStack = field(repr=False)
    task: Task = field(repr=False)
    feeds: dict[str, Feed] = field(repr=False)
    forecast: Forecast | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the pre-trained weights came from."""
        return vars(self.pretrained.provenance)


def make_plan(
    recipe: Recipe,
    objects: object | None = None,
    progress: Progress | None = None,
    meanwhile: Callable[[Modality], None] | None = None,
) -> Plan:
    """Read the data, load the model, decide everything that the recipe leaves open.

    Parameters
    ----------
    objects : object, optional
        Data passed in Python instead of `recipe.data.path`.
    meanwhile : callable, optional
        Told the kind of inputs as soon as it is known, before the model loads, for what can get ready meanwhile.
    """
    progress = progress or Silent()
    check_early(recipe)
    progress.stage("reading and checking the data")
    slices = recipe.evaluation.slices
    prepared = prepare(recipe.data, task=recipe.task, seed=recipe.seed, objects=objects, slices=slices)
    manifest = prepared.manifest
    if meanwhile is not None:
        meanwhile(manifest.modality)
    task = task_of(manifest)
    name, reason = describe(recipe.model.name, manifest.modality)
    recipe = replace(recipe, model=replace(recipe.model, name=name))
    progress.stage(f"loading {name}")
    pretrained, stack = _load(recipe, manifest, task)
    resolved = resolve(recipe, prepared, pretrained, stack, task)
    recipe, model_reasons = _with_model_facts(_anchored(resolved.recipe, pretrained), pretrained)
    recipe, column_reasons = _with_columns(recipe, manifest)
    recipe, method_reasons = _with_settings(recipe, pretrained)
    reasons = {**column_reasons, "model.name": reason, **model_reasons, **method_reasons, **resolved.reasons}
    feeds = _feeds(recipe, prepared, task, pretrained)
    manifest = _with_lengths(manifest, feeds["train"], pretrained)
    return Plan(
        recipe=recipe,
        reasons=reasons,
        manifest=manifest,
        phases=resolved.phases,
        layers=_layers(recipe, stack, resolved.phases),
        notes=[finding.message for finding in manifest.findings if finding.severity != "info"],
        preflight=[],
        replay=[],
        tuning=list(pretrained.tuned),
        steps_per_epoch=-(-len(feeds["train"]) // (recipe.training.batch_size or 1)),
        total_parameters=sum(stack.size(group) for group in stack.groups),
        prepared=replace(prepared, manifest=manifest),
        pretrained=pretrained,
        stack=stack,
        task=task,
        feeds=feeds,
    )


def _load(recipe: Recipe, manifest: Manifest, task: Task) -> tuple[Pretrained, LayerStack]:
    method = None if recipe.method.name is None else METHODS.get(parse_method(recipe.method.name)[0])
    torch.manual_seed(recipe.seed)
    pretrained = load_pretrained(
        recipe.model,
        modality=manifest.modality,
        outputs=task.outputs(manifest),
        seed=recipe.seed,
        random_weights=method is not None and method.random_weights,
    )
    if recipe.method.name is not None:
        tune(pretrained, parse_method(recipe.method.name)[0], all_settings(recipe.method))
    return pretrained, pretrained.stack()


def _with_columns(recipe: Recipe, manifest: Manifest) -> tuple[Recipe, dict[str, str]]:
    """Write the columns that were recognised into the recipe.

    A group is left out: one that was recognised only warns, one that is named decides.
    """
    names: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    for column in manifest.columns:
        if column.role in ("text", "pair", "image", "target") and getattr(recipe.data, column.role) is None:
            names.setdefault(column.role, []).append(column.name)
            reasons[f"data.{column.role}"] = column.reason
    found: dict[str, Any] = {role: several[0] if len(several) == 1 else several for role, several in names.items()}
    return replace(recipe, data=replace(recipe.data, **found)), reasons


def _anchored(recipe: Recipe, pretrained: Pretrained) -> Recipe:
    """Local places as absolute paths, so that a run is resumed from any folder."""

    def absolute(place: str | None) -> str | None:
        return str(Path(place).resolve()) if place and Path(place).exists() else place

    data, model, evaluation, method = recipe.data, recipe.model, recipe.evaluation, recipe.method
    adapter = {key: absolute(value) for key, value in method.options.items() if key == "adapter"}
    return replace(
        recipe,
        method=replace(method, options={**method.options, **adapter}),
        evaluation=replace(
            evaluation,
            source=absolute(evaluation.source),
            shift=[absolute(place) or place for place in evaluation.shift],
        ),
        data=replace(
            data,
            path=absolute(data.path),
            validation=absolute(data.validation),
            test=absolute(data.test),
            drop_suspects=absolute(data.drop_suspects),
        ),
        model=replace(
            model,
            # An embedded model keeps its name even where a folder happens to be called the same.
            name=absolute(model.name) if pretrained.provenance.source == "local" else model.name,
            weights=absolute(model.weights),
        ),
    )


def _with_model_facts(recipe: Recipe, pretrained: Pretrained) -> tuple[Recipe, dict[str, str]]:
    """Write what the loaded model reads (length, size, channels) and how it pools into the recipe."""
    facts = {**pretrained.spec, **pretrained.preprocess.config()}
    found: dict[str, Any] = {
        name: facts[name]
        for name in ("max_length", "image_size", "channels", "pooling")
        if name in facts and getattr(recipe.model, name) is None and isinstance(facts[name], (int, str))
    }
    if recipe.model.revision is None and pretrained.provenance.commit:
        found["revision"] = pretrained.provenance.commit
    own = {"pooling": "the family's own", "revision": "the commit that the Hub gave for this plan"}
    why = {**own, **pretrained.spec.get("reasons", {})}
    reasons = {f"model.{name}": str(why.get(name, "what the model reads by default")) for name in found}
    return replace(recipe, model=replace(recipe.model, **found)), reasons


def _with_settings(recipe: Recipe, pretrained: Pretrained) -> tuple[Recipe, dict[str, str]]:
    """Write into the recipe what the method decided of settings that were left open."""
    decided: dict[str, Any] = pretrained.spec.get("tuning", {}).get("options", {})
    open_ones = [key for key, value in recipe.method.options.items() if value is None and decided.get(key) is not None]
    if not open_ones:
        return recipe, {}
    options = {**recipe.method.options, **{key: decided[key] for key in open_ones}}
    reasons = {"method.options": f"{', '.join(open_ones)}: decided by the method"}
    return replace(recipe, method=replace(recipe.method, options=options)), reasons


def _feeds(recipe: Recipe, prepared: Prepared, task: Task, pretrained: Pretrained) -> dict[str, Feed]:
    budget = recipe.training.memory_budget
    most = MEMO_BYTES if budget is None else min(MEMO_BYTES, parse_size(budget) // IMAGES_SHARE)
    return {
        split: make_feed(
            examples,
            prepared.manifest,
            task,
            pretrained.preprocess,
            max_pixels=recipe.data.max_pixels,
            pipeline=pipeline_of(recipe, prepared.manifest) if split == "train" else None,
            seed=recipe.seed,
            most=most,
        )
        for split, examples in prepared.splits.items()
    }


def _with_lengths(manifest: Manifest, feed: Feed, pretrained: Pretrained) -> Manifest:
    """Add a finding about texts that are longer than the model reads."""
    count = getattr(pretrained.preprocess, "count", None)
    if count is None or not len(feed):
        return manifest
    texts = feed.examples.inputs[:LENGTH_SAMPLE]
    some = Examples(texts, feed.examples.targets[:LENGTH_SAMPLE], feed.examples.origin[:LENGTH_SAMPLE])
    limit = int(pretrained.preprocess.config()["max_length"])
    finding = longer_than_model(some, count(texts), limit)
    return replace(manifest, findings=(*manifest.findings, finding)) if finding.count else manifest


def _layers(recipe: Recipe, stack: LayerStack, phases: Sequence[Phase]) -> list[LayerRow]:
    head = stack.names[-1]
    return [
        LayerRow(
            group.name,
            stack.size(group),
            {
                index: phase_rate(phase, group.name, head, recipe.training)
                for index, phase in enumerate(phases)
                if group.name in phase.learn
            },
        )
        for group in stack.groups
    ]
