"""From what was asked and what the data are to a plan in which nothing is left open, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from unfreeze.data.augmentations._pipeline import Pipeline, build
from unfreeze.data.manifest import Manifest, Prepared
from unfreeze.data.slices import training_groups
from unfreeze.errors import RecipeError, nearest
from unfreeze.evidence._terms import swap_problems
from unfreeze.methods import METHODS, Phase
from unfreeze.methods._method import StackView
from unfreeze.methods._parse import all_settings, parse_method
from unfreeze.methods._resolve import phases_of, written_epochs
from unfreeze.models.pretrained import Pretrained
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.optim.schedules import SCHEDULES
from unfreeze.progress import counted
from unfreeze.recipe import Recipe, TrainingRecipe
from unfreeze.stack.budget import parse_budget, parse_size
from unfreeze.stack.frontier import frontier
from unfreeze.stack.groups import LayerStack
from unfreeze.tasks import TASKS
from unfreeze.tasks._losses import parse_loss
from unfreeze.tasks._task import Task
from unfreeze.train.compiling import worth_compiling
from unfreeze.train.group_dro import group_problems
from unfreeze.train.order import TOKENS, TOKENS_ELSEWHERE
from unfreeze.train.precision import choose_precision
from unfreeze.train.worst_group import METRIC as WORST_GROUP

HEAD_RATE = 1e-2
"""For AdamW. A head on pre-trained features is nearly a linear model, which bears more than a deep network: of 0.001,
0.003, 0.01 and 0.03 this was best or nearly so on validation rows of two text sets (benchmarks/head_rates.py)."""

SCRATCH_FACTOR = 10
"""A random start bears pre-training's rate, an order of magnitude above fine-tuning's."""

VIEWS = 4
"""Versions of an augmented row that are kept, where a phase with a frozen part has at least twice as many epochs."""

WANTED_UPDATES = 400
"""Updates that a small data set should get; epochs follow from it, between 3 and 20."""


@dataclass(frozen=True)
class Resolved:
    """A recipe with every default made explicit, and why."""

    recipe: Recipe
    reasons: dict[str, str]
    phases: tuple[Phase, ...]


@dataclass
class _Decisions:
    """Fills open fields of a recipe's section and remembers why."""

    reasons: dict[str, str] = field(default_factory=dict)

    def fill(self, section: Any, prefix: str, /, **choices: Callable[[], tuple[Any, str]]) -> Any:
        found = {}
        for key, choose in choices.items():
            if getattr(section, key) is None:
                value, reason = choose()
                found[key] = value
                self.reasons[f"{prefix}.{key}"] = reason
        return replace(section, **found)


def resolve(recipe: Recipe, prepared: Prepared, pretrained: Pretrained, stack: LayerStack, task: Task) -> Resolved:
    """Decide everything that the recipe leaves open.

    Raises
    ------
    RecipeError
        If names are unknown or what was asked for does not fit together.
    """
    manifest = prepared.manifest
    check_names(recipe, prepared, task)
    decisions = _Decisions()
    decisions.reasons["task"] = manifest.task_reason
    if recipe.method.name is not None:
        recipe = replace(recipe, method=replace(recipe.method, options=all_settings(recipe.method)))
    if not recipe.method.phases:
        chosen = (
            "full",
            "best or nearly so on the validation rows of four sets (docs/results.md); `head` is far cheaper",
        )
        recipe = replace(recipe, method=decisions.fill(recipe.method, "method", name=lambda: chosen))
    recipe = replace(recipe, task=manifest.task)
    if manifest.slices:
        groups = decisions.fill(recipe.training, "training", groups=lambda: _groups(prepared))
        recipe = replace(recipe, training=groups)
    training = _training(recipe, manifest, pretrained, decisions)
    training = decisions.fill(training, "training", loss=lambda: (task.losses[0], "the task's own"))
    evaluation = decisions.fill(
        recipe.evaluation,
        "evaluation",
        metric=lambda: (task.default_metric(manifest), "the task's"),
        **_reading_size(recipe, manifest, training),
    )
    recipe = replace(recipe, training=training, evaluation=evaluation)
    view = StackView(
        stack.names,
        tuple(stack.size(group) for group in stack.groups),
        {group.name: group.beside for group in stack.groups if group.beside},
    )
    phases = phases_of(recipe, view)
    recipe = replace(recipe, training=_augmentation(recipe, phases, stack, manifest, decisions))
    views = decisions.fill(recipe.training, "training", cached_views=lambda: _cached_views(recipe, phases, stack))
    recipe = replace(recipe, training=views)
    return Resolved(recipe, decisions.reasons, phases)


def _reading_size(
    recipe: Recipe, manifest: Manifest, training: TrainingRecipe
) -> dict[str, Callable[[], tuple[int, str]]]:
    """How much is read at a time where nothing is learned: rows of images, tokens of texts."""
    if manifest.modality != "text":
        rows = 2 * (training.batch_size or 1)
        return {"batch_size": lambda: (rows, "twice that of training: no gradients are kept")}
    if recipe.evaluation.batch_size is not None:
        return {}
    if training.device == "cpu":
        return {"batch_tokens": lambda: (TOKENS, "measured: about the fastest on a CPU, for texts of any length")}
    return {"batch_tokens": lambda: (TOKENS_ELSEWHERE, "no gradients are kept")}


def check_early(recipe: Recipe) -> None:
    """Refuse what is wrong whatever the data are, all problems at once, before anything is read.

    Raises
    ------
    RecipeError
        With every unknown method, optimizer, schedule, task, device and budget.
    """
    training = recipe.training
    problems = _problems(
        (training.optimizer, "training.optimizer: ", OPTIMIZERS.get),
        (training.schedule, "training.schedule: ", SCHEDULES.get),
        (recipe.task, "task: ", TASKS.get),
        (recipe.method.name, "", lambda _: all_settings(recipe.method)),
        (training.device, "training.device: ", _usable),
        (training.cache_budget, "training.cache_budget: ", parse_budget),
        (training.memory_budget, "training.memory_budget: ", parse_size),
    )
    if problems:
        raise RecipeError(problems)


def _problems(*checks: tuple[Any, str, Callable[[Any], Any]]) -> list[str]:
    """What each check says of its value, after its prefix; values that are None are not checked."""
    problems: list[str] = []
    for value, prefix, check in checks:
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            problems.append(f"{prefix}{error}")
    return problems


def _usable(device: str) -> None:
    kinds = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind, _, number = device.partition(":")
    there = [name for name, usable in kinds.items() if usable]
    if kind not in kinds:
        raise RecipeError(f"unknown device '{device}'. {nearest(kind, kinds)}")
    if not kinds[kind]:
        raise RecipeError(f"this machine, with this build of torch, has no '{kind}'. There is: {', '.join(there)}.")
    if number and not (number.isdigit() and kind == "cuda" and int(number) < torch.cuda.device_count()):
        raise RecipeError(f"there is no '{device}'. There is: {', '.join(there)}.")


def _check_metric(metric: str, prepared: Prepared, task: Task) -> None:
    """Score a few rows by the baseline, to see which figures this task has."""
    manifest, targets = prepared.manifest, prepared.splits["train"].targets[:8]
    outputs = task.baseline(targets, manifest)[1].float().reshape(1, -1)
    scorer = task.scorer(manifest)
    scorer.update(outputs.expand(len(targets), -1), torch.stack([task.encode(t, manifest) for t in targets]))
    names = {*scorer.compute(), *([WORST_GROUP] if manifest.task == "classification" else [])}
    if metric not in names:
        raise RecipeError(f"unknown metric '{metric}' for {manifest.task}. {nearest(metric, names)}")


def check_names(recipe: Recipe, prepared: Prepared, task: Task) -> None:
    """Every name that these data and their task have to know, all problems at once."""
    manifest = prepared.manifest
    problems = _problems(
        (recipe.training.augment or (), "", lambda names: build(names, manifest.modality)),
        ((recipe.training.loss,), "", lambda loss: parse_loss(loss[0], task.losses)),
        (recipe.evaluation.metric, "evaluation.metric: ", lambda name: _check_metric(name, prepared, task)),
    )
    problems += [*group_problems(recipe, manifest), *swap_problems(recipe.evaluation.swaps, manifest.modality)]
    weighted = "balanced" in (recipe.training.class_weights, recipe.training.sampling)
    if weighted and manifest.task != "classification":
        problems.append(
            f"training.class_weights and training.sampling balance the classes of a classification; this is a "
            f"{manifest.task}."
        )
    smoothing = recipe.training.label_smoothing
    if smoothing and not manifest.labels:
        problems.append(
            f"training.label_smoothing spreads a share of the target over all classes; a {manifest.task} has none. "
            f"Got {smoothing:g} instead of 0."
        )
    if problems:
        raise RecipeError(problems)


def _training(recipe: Recipe, manifest: Manifest, pretrained: Pretrained, decisions: _Decisions) -> TrainingRecipe:
    rows = manifest.rows.get("train", 0)
    training = decisions.fill(
        recipe.training,
        "training",
        batch_size=lambda: _batch_size(rows),
        device=_device,
    )
    optimizer = OPTIMIZERS.get(training.optimizer)
    rates = pretrained.family.rates
    method = None if recipe.method.name is None else METHODS.get(parse_method(recipe.method.name)[0])
    scratch = method is not None and method.random_weights
    factor = 1.0 if method is None else method.rate
    # Some families were pre-trained with another optimizer, whose rate AdamW would not bear.
    rate = min(rates.pretraining, SCRATCH_FACTOR * rates.fine_tuning) if scratch else rates.fine_tuning * factor
    kind = "a rate for a random start" if scratch else "fine-tuning's rate of this family"
    if method is not None and factor != 1:
        kind = f"{factor:g} times {kind}, since {method.rate_reason}"
    source = rates.source
    if method is not None and method.own_rate is not None:
        rate, kind, source = method.own_rate, "the method's own rate", method.rate_reason
    per_optimizer = "" if optimizer.rate == 1 else f", times {optimizer.rate:g} for {training.optimizer}"
    training = decisions.fill(
        training,
        "training",
        lr=lambda: (rate * optimizer.rate, f"{kind}: {source}{per_optimizer}"),
        head_lr=lambda: _head_rate(recipe, optimizer.rate, per_optimizer),
        epochs=lambda: _epochs(recipe, rows, training.batch_size or 1),
        gradient_checkpointing=lambda: (False, "activations are kept: nothing says that memory is short"),
    )
    updates = round((training.epochs or 0) * -(-rows // (training.batch_size or 1)))
    training = decisions.fill(
        training,
        "training",
        return_memory=lambda: _return_memory(training),
        compile=lambda: worth_compiling(training.device or "cpu", updates),
    )
    if training.precision == "auto":
        precision, reason = choose_precision(torch.device(training.device or "cpu"))
        decisions.reasons["training.precision"] = reason
        training = replace(training, precision=precision)
    decided: TrainingRecipe = training
    return decided


def _groups(prepared: Prepared) -> tuple[list[str], str]:
    """All slices, and how small the groups are that they make together."""
    counts = Counter(training_groups(prepared.splits["train"], prepared.manifest, None))
    few = min(counts.values())
    reason = f"all of evaluation.slices: {len(counts)} groups of training rows, the smallest of {counted(few, 'row')}"
    return [one.column for one in prepared.manifest.slices], reason


def _head_rate(recipe: Recipe, factor: float, per_optimizer: str) -> tuple[float, str]:
    if recipe.method.name == "head" and recipe.training.lr is not None:
        return recipe.training.lr, "training.lr as given, since nothing but the head learns"
    return HEAD_RATE * factor, f"the head is new and nearly linear, so it bears more{per_optimizer}"


def _return_memory(training: TrainingRecipe) -> tuple[bool, str]:
    if training.device == "cpu" and training.gradient_checkpointing:
        return True, "else the holes that activations leave when they come and go take more than was saved"
    return False, "the next pass needs it again: new pages take time"


def _epochs(recipe: Recipe, rows: int, batch_size: int) -> tuple[float, str]:
    written = written_epochs(recipe)
    if written is not None:
        return written, "the written phases together"
    steps = max(1, -(-rows // batch_size))
    epochs = float(min(20, max(3, round(WANTED_UPDATES / steps))))
    return epochs, f"{rows} rows make {steps} updates an epoch; about {WANTED_UPDATES} updates, 3 to 20 epochs"


def _batch_size(rows: int) -> tuple[int, str]:
    if rows < 320:
        return 8, f"only {rows} training rows: small batches make enough updates"
    return 32, f"{rows} training rows"


def _device() -> tuple[str, str]:
    if torch.cuda.is_available():
        return "cuda", "a GPU is there"
    if torch.backends.mps.is_available():
        return "mps", "Apple's GPU is there"
    return "cpu", "there is no GPU"


def _augmentation(
    recipe: Recipe, phases: tuple[Phase, ...], stack: LayerStack, manifest: Manifest, decisions: _Decisions
) -> TrainingRecipe:
    """Images are cropped at random when pre-trained layers learn; frozen ones are computed once instead."""
    training = recipe.training
    if training.augment is None:
        deep = any(name != stack.names[-1] for phase in phases for name in phase.learn)
        chosen: list[str] = []
        if manifest.modality == "text":
            reason = "texts are read as they are"
        elif not deep:
            reason = "only the head learns: features of unchanged images are computed once"
        else:
            chosen, reason = ["crop:0.7"], "layers learn from images: mild random crops, safe for most subjects"
        decisions.reasons["training.augment"] = reason
        training = replace(training, augment=chosen)
    return training


def _cached_views(recipe: Recipe, phases: tuple[Phase, ...], stack: LayerStack) -> tuple[int, str]:
    """Some versions of each augmented image stand for a new one in each epoch, where there would be many."""
    if not recipe.training.augment:
        return 0, "nothing is augmented"
    epochs = max((phase.epochs for phase in phases if frontier(stack.names, phase.learn) > 0), default=0)
    if epochs < 2 * VIEWS:
        return 0, f"for fewer than {2 * VIEWS} epochs over frozen layers each epoch sees a new version"
    return VIEWS, f"{epochs:g} epochs see {VIEWS} versions of each row, through frozen layers only once each"


def pipeline_of(recipe: Recipe, manifest: Manifest) -> Pipeline | None:
    """The training split's augmentation; None if there is none."""
    names = recipe.training.augment or []
    return build(names, manifest.modality) if names else None


def task_of(manifest: Manifest) -> Task:
    """The task that the data were prepared for."""
    return TASKS.get(manifest.task)
