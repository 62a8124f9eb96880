"""The sentence layer: fit, sweep, plan, load, evaluate, predict, resume, merge, compare, inspect.

>>> run = unfreeze.fit("reviews.csv", target="stars")     # doctest: +SKIP
>>> run.metrics["accuracy"], run.predict(["What a film!"])  # doctest: +SKIP
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from unfreeze.advice._advice import other_method
from unfreeze.data.io import write_quarantine
from unfreeze.data.manifest import Prepared
from unfreeze.data.prepare import prepare
from unfreeze.data.slices import balancing, training_groups
from unfreeze.energy import Meter
from unfreeze.errors import Interrupted, RecipeError, RunError, UnfreezeError, nearest
from unfreeze.evaluation.finish import evaluate_and_save, fresh_process
from unfreeze.evaluation.gate import FreshProcess
from unfreeze.evaluation.kept import Kept, keeping
from unfreeze.evaluation.versions import versions
from unfreeze.grid import read_asked
from unfreeze.machine import give_back_at_once, keeping_pages
from unfreeze.merging import merge_run
from unfreeze.methods import METHODS
from unfreeze.methods._parse import parse_method
from unfreeze.models.kernels import fast_kernels
from unfreeze.planning import Plan, make_plan
from unfreeze.progress import Progress, Silent
from unfreeze.recipe import MethodRecipe, OutputRecipe, Recipe
from unfreeze.recipe_io import dump_recipe, with_values
from unfreeze.run import (
    MANIFEST,
    RECIPE,
    RESULT,
    SOUP,
    Run,
    check_folder,
    how_to_collect,
    new_run_folder,
    open_run,
    set_status,
)
from unfreeze.soups import mix, mixable, soup_recipe, training_of_soup, write_soup
from unfreeze.stack.gradient_checkpointing import blocks, recompute
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import make_working
from unfreeze.sweeping import plan_of_best, sweepable, train_together, training_of_best, write_sweep
from unfreeze.tasks._task import LossOptions
from unfreeze.train.against_forgetting import against_forgetting
from unfreeze.train.early_stopping import EarlyStopping
from unfreeze.train.ema import ExponentialAverage
from unfreeze.train.feed import Feed
from unfreeze.train.files import full_disk_said, write_bytes, write_json
from unfreeze.train.forecast import forecast
from unfreeze.train.group_dro import GroupWeights
from unfreeze.train.hooks import Hook
from unfreeze.train.job import Job
from unfreeze.train.l2_sp import StartingPoint
from unfreeze.train.loop import Training
from unfreeze.train.memory import is_out_of_memory
from unfreeze.train.memory_budget import fit_into_budget
from unfreeze.train.metering import NotedCost
from unfreeze.train.preflight import preflight
from unfreeze.train.replaying import Replayed, expectations, forecast_lines
from unfreeze.train.scoring import score
from unfreeze.train.timing import times_of
from unfreeze.train.touched_rows import touched_reasons

if TYPE_CHECKING:
    from unfreeze.evidence._context import Context

SCRATCH = "scratch.json"

HookMaker: TypeAlias = Callable[[Plan], Sequence[Hook]]


def fit(
    data: Any = None,
    model: str | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Fine-tune a pre-trained model on data and prove the result.

    Parameters
    ----------
    data : path, Hub id, DataFrame, list of (input, label), list of dicts, dict of columns or of splits, Dataset
    model : str, optional
        Hub id, timm name, local folder or embedded name. None takes the embedded model of the modality.
    recipe : Recipe, optional
        Where to start from; `data`, `model` and options override it.
    **options
        Any field of the recipe by its own name (`epochs=3`, `target="stars"`), `method="last:2"`, `task=…`,
        `output="folder"`, or with its section and two underscores (`training__loss="focal"`).

    Raises
    ------
    UserError
        What was said or given cannot be used. Nothing has been trained.
    Interrupted
        Ctrl-C; `unfreeze.resume` continues.
    """
    asked, objects = recipe_of(data, model, recipe, options)
    return fit_recipe(asked, progress=progress, objects=objects)


def sweep(
    data: Any = None,
    model: str | None = None,
    *,
    rates: Sequence[float] | None = None,
    decays: Sequence[float] | None = None,
    seeds: int = 4,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Train a head with every rate and weight decay from several seeds together; the best by validation becomes a run.

    Parameters
    ----------
    data, model, recipe, **options
        As in `fit`; the method is `head`.
    rates : sequence of float, optional
        Highest learning rates; None: 0.1, 0.3, 1 and 3 times training.head_lr.
    decays : sequence of float, optional
        Weight decays; None: 0 and training.weight_decay.
    seeds : int
        How many, counted up from the recipe's. They share the splits of the first.

    Returns
    -------
    Run
        Of the best head, as `fit` would have made it alone; `run.sweep` tells of all.

    Raises
    ------
    UserError
        What was said or given cannot be used. Nothing has been trained.
    DivergedError
        With every rate and decay a head diverged.
    """
    asked, objects = recipe_of(data, model, recipe, options)
    return sweep_recipe(asked, rates=rates, decays=decays, seeds=seeds, progress=progress, objects=objects)


def plan(data: Any = None, model: str | None = None, *, recipe: Recipe | None = None, **options: Any) -> Plan:
    """What `fit` with the same arguments would do, without training."""
    asked, objects = recipe_of(data, model, recipe, options)
    return plan_recipe(asked, objects=objects)


def inspect_data(data: Any, **options: Any) -> Prepared:
    """The audit of some data: columns, task, splits, findings, and what would be left out."""
    asked, objects = recipe_of(data, None, None, options)
    return inspect_recipe(asked, objects=objects)


def load(path: str | Path) -> Run:
    """A run by its folder."""
    return open_run(path)


def evaluate(path: str | Path, data: Any) -> dict[str, Any]:
    """Figures of a run's model on labelled data."""
    return open_run(path).evaluate(data)


def predict(
    path: str | Path, data: Any, *, calibrated: bool = True, error_rate: float | None = None
) -> list[dict[str, Any]]:
    """Predictions of a run's model; see `Run.predict` for calibration and for abstaining."""
    return open_run(path).predict(data, calibrated=calibrated, error_rate=error_rate)


def soup(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    greedy: bool = False,
    overwrite: bool = False,
    data: object | None = None,
    progress: Progress | None = None,
) -> Run:
    """The mean of the weights of several finished runs of one model and the same data, made a run of its own.

    Parameters
    ----------
    output : path, optional
        The new run's folder; None: one in runs/.
    greedy : bool
        From the best run on validation to the worst, take each with which validation does not fall; else all.
    data : object, optional
        The same data again, for runs whose data were passed in Python.

    Raises
    ------
    RunError
        If the runs cannot be averaged, or their data have changed.
    """
    progress = progress or Silent()
    meter = Meter()
    runs = mixable(paths)
    recipe = soup_recipe(runs, None if output is None else str(output), overwrite)
    if recipe.output.folder:
        check_folder(Path(recipe.output.folder), overwrite, (*_sources(recipe), *(str(run.path) for run in runs)))
    if recipe.data.path is None and data is None:
        raise RunError(f"The data of '{runs[0].path}' were passed in Python: pass them again, soup(paths, data=…).")
    _threads(recipe)
    with fresh_process(recipe) as fresh:
        made = make_plan(recipe, data, progress, fresh.expect if fresh else None)
        if made.manifest.fingerprint != runs[0].manifest.fingerprint:
            raise RunError(f"The data of '{runs[0].path}' have changed since the run: a soup cannot be judged on them.")
        mixed = mix(make_job(made, Path(), progress), runs, greedy)
        job = replace(mixed.job, folder=_begin_folder(made, recipe))
        write_soup(job.folder, mixed)
        return _train(made, job, meter, progress, [], fresh, training_of_soup(replace(mixed, job=job)))


def merge(path: str | Path, output: str | Path | None = None, *, overwrite: bool = False) -> Run:
    """Fold what a run's adapter learned into its base: a run with a plain model and the same predictions.

    Parameters
    ----------
    output : path, optional
        The new run's folder; None: the run's with "-merged" after its name. `transformers` or `timm` in it holds the
        model as that library reads it.

    Raises
    ------
    UserError
        If there is no such run, nothing in it can be merged, or the folder is taken.
    ReloadError
        If the merged model, loaded again, does not reproduce the run's outputs.
    """
    merged = merge_run(path, output, overwrite)
    _tell_as(open_run(path), merged)
    return merged


def compare(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """One row per run: model, method, test figures with intervals, share that learned, seconds; best first.

    The first run's metric ranks them all; runs without a test split come last.

    Raises
    ------
    RunError
        If the runs' tasks or labels differ, since their figures then cannot be compared.
    """
    runs = [open_run(path) for path in paths]
    tasks = {run.manifest.task for run in runs}
    if len(tasks) > 1:
        raise RunError(f"The runs solve different tasks ({', '.join(sorted(tasks))}): their figures do not compare.")
    for run in runs[1:]:
        _check_labels(runs[0], run)
    rows = [_comparison(run) for run in runs]
    tests = {row["test_fingerprint"] for row in rows}
    for row in rows:
        row["same_test"] = len(tests) == 1
        row["metric"] = rows[0]["metric"]
    sign = -1 if runs and runs[0].task.higher_is_better(rows[0]["metric"]) else 1
    return sorted(rows, key=lambda row: _rank(row, sign))


def _check_labels(first: Run, other: Run) -> None:
    """Accuracy over two labels says nothing beside accuracy over three."""
    one, two = set(first.manifest.labels), set(other.manifest.labels)
    alone = [
        f"only '{run.path}' knows {_some(labels)}" for run, labels in ((first, one - two), (other, two - one)) if labels
    ]
    if alone:
        raise RunError(f"The runs have different labels: {'; '.join(alone)}. Their figures do not compare.")


def _some(labels: set[str], most: int = 5) -> str:
    named = ", ".join(f"'{label}'" for label in sorted(labels)[:most])
    return named if len(labels) <= most else f"{named} and {len(labels) - most} more"


def _rank(row: dict[str, Any], sign: int) -> tuple[bool, float]:
    value = (row["test"].get(row["metric"]) or {}).get("value")
    return value is None, 0.0 if value is None else sign * value


def _comparison(run: Run) -> dict[str, Any]:
    result = run.result
    return {
        "run": str(run.path),
        "model": result["model"]["name"],
        "method": result["method"],
        "metric": result["metric"],
        "test": result["test"],
        "learned_share": result["learned_parameters"] / result["parameters"],
        "seconds": result["seconds"],
        "test_fingerprint": result["test_fingerprint"],
    }


def fit_recipe(
    recipe: Recipe, *, progress: Progress | None = None, objects: object | None = None, hooks: HookMaker | None = None
) -> Run:
    """`fit` for a recipe that is already made.

    Parameters
    ----------
    hooks : callable (Plan) -> sequence of Hook, optional
        Makes further hooks for the loop, such as a distillation. A recipe cannot name them, so `resume` needs the
        same maker again.
    """
    progress = progress or Silent()
    meter = Meter()
    with fresh_process(recipe) as fresh:
        made, job = _prepare(recipe, objects, progress, fresh)
        further = _add_hooks(job, made, hooks)
        job.folder = _begin_folder(made, recipe)
        progress.start(made)
        run = _train(made, job, meter, progress, further, fresh)
    _beside_scratch(run, objects, progress)
    return run


def sweep_recipe(
    recipe: Recipe,
    *,
    rates: Sequence[float] | str | None = None,
    decays: Sequence[float] | str | None = None,
    seeds: int | str = 4,
    progress: Progress | None = None,
    objects: object | None = None,
) -> Run:
    """`sweep` for a recipe that is already made; numbers may be given as they were typed: "1e-3,1e-2"."""
    progress = progress or Silent()
    meter = Meter()
    asked, recipe = read_asked(rates, decays, seeds), sweepable(recipe)
    with fresh_process(recipe) as fresh:
        made, job = _prepare(recipe, objects, progress, fresh)
        grid = asked.grid(sweepable(made.recipe))  # again, since what was left open is decided now
        progress.start(made)
        with meter.learning():
            swept = train_together(job, grid)
        made = plan_of_best(made, swept)
        job = replace(job, recipe=made.recipe, folder=_begin_folder(made, recipe))
        write_sweep(job.folder, swept)
        run = _train(made, job, meter, progress, [], fresh, training_of_best(job, swept))
    _beside_scratch(run, objects, progress)
    return run


def _prepare(
    recipe: Recipe, objects: object | None, progress: Progress, fresh: FreshProcess | None
) -> tuple[Plan, Job]:
    """Everything before training, without writing anything."""
    if recipe.output.folder:
        check_folder(Path(recipe.output.folder), recipe.output.overwrite, _sources(recipe))
    _threads(recipe)
    made = make_plan(recipe, objects, progress, fresh.expect if fresh else None)
    job = _within_budget(made, make_job(made, Path(), progress), progress)
    made.preflight = preflight(job)
    return made, job


def _begin_folder(made: Plan, asked: Recipe) -> Path:
    """A new run's folder, with what is known before training."""
    method = "phases" if made.recipe.method.phases else made.recipe.method.name
    stem = f"{Path(made.manifest.source).stem}-{Path(made.recipe.model.name or '').name}-{method}"
    folder = new_run_folder(asked.output.folder, stem, asked.output.overwrite, _sources(asked))
    write_bytes(folder / RECIPE, dump_recipe(made.recipe, made.reasons).encode())
    write_json(folder / MANIFEST, made.manifest.to_dict())
    with full_disk_said(folder / "quarantine.jsonl"):
        write_quarantine(folder / "quarantine.jsonl", made.prepared.quarantine)
    return folder


def _sources(recipe: Recipe) -> tuple[str | None, ...]:
    """What a run reads, and must not replace."""
    data, model, evaluation = recipe.data, recipe.model, recipe.evaluation
    held = (data.path, data.validation, data.test, data.drop_suspects, model.name, model.weights)
    return (*held, evaluation.source, *evaluation.shift)


def plan_recipe(recipe: Recipe, *, objects: object | None = None, progress: Progress | None = None) -> Plan:
    """`plan` for a recipe that is already made."""
    _threads(recipe)
    progress = progress or Silent()
    made = make_plan(recipe, objects, progress)
    job = _within_budget(made, make_job(made, Path(), Silent()), progress)
    made.preflight = preflight(job)
    progress.stage("forecasting memory and time")
    expected, test = expectations(job), made.feeds.get("test")
    made.replay = forecast_lines(job, expected)
    made.reasons |= touched_reasons(job)
    try:
        phases = times_of(job, test, expected)
        seconds = sum(sum(phase.seconds.values()) for phase in phases)
        made.forecast = replace(made.forecast or forecast(job, test, expected), seconds=seconds, phases=phases)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        made.notes.append("memory ran out while a whole batch was measured, so there is no forecast: a run would go on")
    return made


def _within_budget(made: Plan, job: Job, progress: Progress) -> Job:
    """The job as it has to be to stay within `training.memory_budget`; what was chosen is written into the plan."""
    if made.recipe.training.memory_budget is None:
        return job
    progress.stage(f"fitting the run into {made.recipe.training.memory_budget} of memory")
    chosen = fit_into_budget(job, made.feeds.get("test"), made.reasons)
    made.recipe = with_values(made.recipe, chosen.values)
    made.reasons |= chosen.reasons
    made.forecast = chosen.forecast
    return make_job(made, Path(), job.progress) if chosen.values else job


def inspect_recipe(recipe: Recipe, *, objects: object | None = None) -> Prepared:
    """`inspect_data` for a recipe that is already made."""
    slices = recipe.evaluation.slices
    return prepare(recipe.data, task=recipe.task, seed=recipe.seed, objects=objects, slices=slices)


def resume(
    path: str | Path,
    *,
    progress: Progress | None = None,
    data: object | None = None,
    hooks: HookMaker | None = None,
) -> Run:
    """Continue an interrupted run to the result that it would have had without the interruption.

    Parameters
    ----------
    data : object, optional
        The same data again, for a run whose data were passed in Python.
    hooks : callable (Plan) -> sequence of Hook, optional
        What `fit_recipe` was given, for a run that was given hooks.

    Raises
    ------
    RunError
        If the data, the pre-trained weights or the hooks are not the same as when the run began.
    """
    progress = progress or Silent()
    run = open_run(path)
    if (run.path / RESULT).exists():
        progress.note("this run is finished already")
        _say_finished(run.path, {"weights": run.weights, "hooks": run.hooks})
        _tell_what_is_missing(run, data, progress)
        return Run(run.path)
    if (run.path / SOUP).exists():
        raise RunError(f"'{run.path}' is a soup of runs and is not resumed: give the unfreeze soup command again.")
    meter = Meter(run.cost)
    if run.recipe.data.path is None and data is None:
        raise RunError(f"The data of '{run.path}' were passed in Python: pass them again, resume(path, data=…).")
    before, begun_with, _ = run.weights, run.hooks, run.manifest  # what is damaged is said before any work
    if begun_with and hooks is None:
        raise RunError(
            f"The run '{run.path}' was begun with hooks that were given in Python ({', '.join(begun_with)}), which no "
            f"recipe names. Give them again: unfreeze.resume('{run.path}', hooks=…)."
        )
    _threads(run.recipe)
    made = make_plan(run.recipe, data, progress)
    if made.manifest.fingerprint != run.manifest.fingerprint:
        raise RunError(
            f"The data of '{run.path}' have changed since the run began (fingerprint "
            f"{made.manifest.fingerprint[:12]} instead of {run.manifest.fingerprint[:12]}): it cannot be continued."
        )
    if before and made.pretrained.provenance.sha256 != before:
        raise RunError(f"The pre-trained weights of '{run.path}' are not those that the run began with.")
    job = make_job(made, run.path, progress)
    made.preflight = preflight(job)
    further = _add_hooks(job, made, hooks)
    if further != begun_with:
        raise RunError(
            f"The run '{run.path}' was begun with {_hooks_named(begun_with)} and cannot be continued with "
            f"{_hooks_named(further)}."
        )
    progress.start(made)
    with fresh_process(made.recipe) as fresh:
        if fresh is not None:
            fresh.expect(made.manifest.modality)
        run = _train(made, job, meter, progress, further, fresh)
    _beside_scratch(run, data, progress)
    return run


def _add_hooks(job: Job, made: Plan, maker: HookMaker | None) -> list[str]:
    """Give the loop further hooks, after the recipe's own; returns their names."""
    further = list(maker(made)) if maker else []
    job.hooks = [*job.hooks, *further]
    return [type(hook).__name__ for hook in further]


def _hooks_named(names: Sequence[str]) -> str:
    return f"the hooks {', '.join(names)}" if names else "no hooks from Python"


def make_job(made: Plan, folder: Path, progress: Progress) -> Job:
    """Put everything together that the loop needs."""
    recipe = made.recipe
    device = torch.device(recipe.training.device or "cpu")
    made.pretrained.module.to(device)
    faster = fast_kernels(device) if recipe.training.fast_kernels else ()
    working = make_working(made.stack, recipe.training.precision, faster)
    if recipe.training.return_memory:
        give_back_at_once()
    if recipe.training.gradient_checkpointing:
        _checkpoint_gradients(working.stack, recipe)
    train, validation = made.feeds["train"], made.feeds.get("validation")
    weights = _class_weights(made)
    return Job(
        recipe=recipe,
        manifest=made.manifest,
        pretrained=made.pretrained,
        stack=made.stack,
        working=working,
        task=made.task,
        phases=made.phases,
        train=train,
        validation=validation if validation is not None and len(validation) else None,
        folder=folder,
        progress=progress,
        device=device,
        loss_options=LossOptions(
            name=recipe.training.loss,
            label_smoothing=recipe.training.label_smoothing,
            class_weights=weights.to(device) if recipe.training.class_weights == "balanced" else None,
        ),
        metric=recipe.evaluation.metric or made.task.default_metric(made.manifest),
        hooks=_hooks(made, folder),
        row_weights=_row_weights(made, weights),
    )


def _checkpoint_gradients(stack: LayerStack, recipe: Recipe) -> None:
    if not blocks(stack):
        raise RecipeError(
            f"training.gradient_checkpointing: '{recipe.model.name}' has no blocks of several layers that could be "
            "computed again."
        )
    recompute(stack)


def _hooks(made: Plan, folder: Path) -> list[Hook]:
    recipe = made.recipe
    hooks: list[Hook] = []
    if recipe.method.name and not recipe.method.phases:
        hooks.extend(METHODS.get(parse_method(recipe.method.name)[0]).hooks(recipe))
    if recipe.method.l2_sp:
        hooks.append(StartingPoint(recipe.method.l2_sp))
    hooks += against_forgetting(recipe, made.manifest, made.pretrained, made.phases, made.feeds["train"], made.reasons)
    if recipe.method.group_dro or recipe.training.class_weights == "group-balanced":
        groups = training_groups(made.feeds["train"].examples, made.manifest, recipe.training.groups)
        hooks.append(GroupWeights(groups, _row_weights(made, _class_weights(made)), recipe.method.group_dro))
    if recipe.training.ema:
        hooks.append(ExponentialAverage(recipe.training.ema))
    if recipe.training.early_stopping:
        hooks.append(EarlyStopping(recipe.training.early_stopping, len(made.phases)))
    return hooks


def _row_weights(made: Plan, class_weights: torch.Tensor) -> list[float] | None:
    """The weights by which training rows are drawn; None: each once an epoch."""
    sampling, train = made.recipe.training.sampling, made.feeds["train"]
    if sampling == "group-balanced":
        return balancing(training_groups(train.examples, made.manifest, made.recipe.training.groups))
    return class_weights[train.targets].tolist() if sampling == "balanced" else None


def _class_weights(made: Plan) -> torch.Tensor:
    """Weights inverse to the classes' frequency, 1 on average over the training rows."""
    if made.manifest.task != "classification":
        return torch.ones(1)
    counts = torch.bincount(made.feeds["train"].targets, minlength=len(made.manifest.labels)).float()
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0)


def _train(
    made: Plan,
    job: Job,
    meter: Meter,
    progress: Progress,
    further: list[str],
    fresh: FreshProcess | None,
    training: Training | None = None,
) -> Run:
    """Train, unless that is done already, then prove and write the result; `meter` has run since the work began."""
    folder = job.folder
    about: dict[str, Any] = {"weights": made.pretrained.provenance.sha256, "hooks": further}
    _add_tensorboard(job)
    job.hooks = [*job.hooks, NotedCost(lambda: set_status(folder, "running", **about, cost=meter.read()))]
    set_status(folder, "running", **about, cost=meter.read())
    try:
        training = training or Training(job)
        with _pages(job):
            with meter.learning():
                training.run()
            result, kept = evaluate_and_save(job, made.feeds.get("test"), training, meter.seconds, progress, fresh)
        result["cost"] |= meter.read()
        result["seconds"] = result["cost"]["seconds"]
        result["versions"] = versions()
        result["provenance"] = asdict(made.pretrained.provenance)
        result["preflight"] = made.preflight
        result["hooks"] = further
        write_json(folder / RESULT, result)
    except (Interrupted, KeyboardInterrupt):
        set_status(folder, "interrupted", **about, cost=meter.read())
        progress.finish({})
        raise Interrupted(f"Interrupted. Continue with: {_how_to_continue(made, folder, further)}") from None
    except BaseException as error:
        _say_failed(folder, {**about, "cost": meter.read()}, error)
        progress.finish({})
        raise
    _say_finished(folder, about)
    if made.recipe.evaluation.report:
        _tell(job, made.feeds.get("test"), result, kept, training.kept_features(job.train))
    progress.finish(result)
    return Run(folder)


def _pages(job: Job) -> AbstractContextManager[None]:
    """Activations of images are large and alike from update to update, so that memory is best kept for the next."""
    images, cpu = not job.reads_text, job.device.type == "cpu"
    return keeping_pages() if images and cpu and not job.recipe.training.return_memory else nullcontext()


FAILURES = (UnfreezeError, OSError, RuntimeError, ValueError, LookupError, TypeError, ArithmeticError)
"""What may go wrong in what only tells about a run: it is noted, and takes nothing away from the run."""


def _tell(
    job: Job, test: Feed | None, result: dict[str, Any], kept: Mapping[str, Kept], replayed: Replayed | None
) -> None:
    """Collect evidence and write the report; the run is finished and proven whatever happens here."""
    from unfreeze.evidence._context import Context

    name = "" if job.recipe.method.name is None else parse_method(job.recipe.method.name)[0]
    seconds = _seconds_to_tell(job.recipe, result["seconds"])
    context = Context(job, test, result, kept, name, seconds=seconds, replayed=replayed)
    with _pages(job), _only_telling("the report", Run(job.folder), job.progress, how_to_collect):
        # Saving took the model to the CPU, and with it the tensors that what computes shares with it.
        job.device = torch.device(job.recipe.training.device or "cpu")
        job.pretrained.module.to(job.device)
        _collect(context)
        job.progress.stage("writing the report")
        _write(Run(job.folder))


def _seconds_to_tell(recipe: Recipe, seconds: float) -> float:
    """What evidence may take of a run of so many seconds."""
    from unfreeze.evidence._context import LEAST_SECONDS, WRITING_SECONDS

    share = recipe.evaluation.evidence_share
    return max(share * seconds, LEAST_SECONDS if share else 0.0) - WRITING_SECONDS


def _collect(context: Context) -> None:
    """Collect evidence, and say what there was no time for."""
    from unfreeze.evidence._collect import COLLECTED, NO_TIME, collect

    began, run = time.perf_counter(), Run(context.folder)
    missing = collect(context)
    spent = time.perf_counter() - began
    write_json(context.folder / "evidence" / COLLECTED, {"seconds": spent, "missing": missing})
    rushed = ", ".join(name for name, why in missing.items() if why == NO_TIME)
    if rushed and context.recipe.evaluation.evidence_share:
        how = f"a share of {context.recipe.evaluation.evidence_share:g} of the run's time (evaluation.evidence_share)"
        again = f"All of it, however long it takes: {how_to_collect(run)}"
        context.job.progress.note(f"left out of the report, which has {how}: {rushed}. {again}")


@contextmanager
def _only_telling(what: str, run: Run, progress: Progress, again: Callable[[Run], str]) -> Iterator[None]:
    """A failure or Ctrl-C in here is noted with how to go on: the run itself is finished and proven."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        progress.note(f"{what} was not finished; the run is. Make it with: {again(run)}")
    except FAILURES as error:
        progress.note(f"{what} could not be made ({error}); the run is finished")


def _resume_again(run: Run) -> str:
    """How a run is resumed."""
    if run.recipe.data.path is None:
        return f"unfreeze.resume({str(run.path)!r}, data=…)"
    return f"unfreeze resume {shlex.quote(str(run.path))}"


def _tell_what_is_missing(run: Run, data: object | None, progress: Progress) -> None:
    """Of a finished run the report and the comparison with a random start, where an interruption left them out."""
    evaluation = run.recipe.evaluation
    page = evaluation.report and not (run.path / "report.html").exists() and "merged" not in run.result
    if (page or _wants_scratch(run)) and run.recipe.data.path is None and data is None:
        progress.note(f"what tells about it is not finished, and its data were passed in Python: {_resume_again(run)}")
        return
    if page:
        with _only_telling("the report", run, progress, how_to_collect):
            _collect_again(run, data, progress, _seconds_to_tell(run.recipe, run.result["seconds"]))
            _write(Run(run.path))
    _beside_scratch(run, data, progress)


def _tell_as(source: Run, merged: Run) -> None:
    """Give a merged run the evidence, the report and the card of its source, with whose outputs its own agree."""
    from unfreeze.evidence._collect import FOLDER

    if (source.path / FOLDER).is_dir():
        with full_disk_said(merged.path / FOLDER):
            shutil.copytree(source.path / FOLDER, merged.path / FOLDER, dirs_exist_ok=True)
    if (source.path / "report.html").exists():
        _write(merged)


def _wants_scratch(run: Run) -> bool:
    """Whether the recipe asks for training from scratch beside, and it has not been done."""
    from unfreeze.evidence._collect import FOLDER

    asked = run.recipe.evaluation.scratch and bool(run.result["history"]) and "merged" not in run.result
    return asked and not (run.path / FOLDER / SCRATCH).exists()


def _beside_scratch(run: Run, objects: object | None, progress: Progress) -> None:
    """Where it was asked for, train the same network from random weights as long, and tell figures and times of both.

    As many epochs as the run really had: where the run played frozen layers back, that takes many times its cost.
    """
    from unfreeze.evidence._collect import FOLDER

    if not _wants_scratch(run):
        return
    progress.stage("training the same network from random weights, for comparison")
    place = run.path / FOLDER / "scratch"
    with _only_telling("the comparison with training from scratch", run, progress, _resume_again):
        try:
            made = fit_recipe(_from_scratch(run, place), objects=objects)
            other = made.result
            split = "test" if other["test"] else "validation"
            found = {
                "split": split,
                "figures": other[split],
                "epochs": made.recipe.training.epochs,
                "seconds": other["seconds"],
                "learning_seconds": other["cost"]["learning_seconds"],
            }
        finally:
            shutil.rmtree(place, ignore_errors=True)
        write_json(run.path / FOLDER / SCRATCH, found)
        if run.recipe.evaluation.report:
            _write(Run(run.path))


def _from_scratch(run: Run, place: Path) -> Recipe:
    """The run's recipe with random weights, for as many epochs as it had; what its own method decided is open again."""
    recipe = run.recipe
    changes = other_method(recipe, run.manifest.modality, "scratch")
    changes["training.epochs"] = min(recipe.training.epochs or 1.0, float(run.result["history"][-1]["epoch"]))
    changes["training.early_stopping"] = None
    return replace(
        with_values(replace(recipe, method=MethodRecipe(name="scratch")), changes),
        evaluation=replace(recipe.evaluation, report=False, scratch=False, gate="inline"),
        output=OutputRecipe(folder=str(place), overwrite=True),
    )


def write_report(
    path: str | Path, *, again: bool = False, data: object | None = None, progress: Progress | None = None
) -> Path:
    """Write a run's report.html (and its model card) anew; returns its path.

    Parameters
    ----------
    again : bool
        Collect the evidence anew too, all of it, however long it takes: the model is loaded and run again.
    data : object, optional
        The same data again, for a run whose data were passed in Python.

    Raises
    ------
    RunError
        If the run is not finished, or its data are not the same any more.
    """
    run = open_run(path)
    _ = run.result
    if again:
        _collect_again(run, data, progress or Silent())
        run = open_run(path)
    return _write(run)


def _write(run: Run) -> Path:
    from unfreeze.report import card, page

    card.write_card(run)
    return page.write_report(run)


def _collect_again(run: Run, data: object | None, progress: Progress, seconds: float = float("inf")) -> None:
    from unfreeze.evidence._context import Context

    if "merged" in run.result:
        raise RunError(
            f"The run '{run.path}' was merged: its evidence is that of '{run.result['merged']}', where it can be "
            "collected again; then merge that run again."
        )
    if run.recipe.data.path is None and data is None:
        raise RunError(f"The data of '{run.path}' were passed in Python: pass them again, write_report(path, data=…).")
    made = make_plan(run.recipe, data, progress)
    if made.manifest.fingerprint != run.manifest.fingerprint:
        raise RunError(f"The data of '{run.path}' have changed since the run: its evidence cannot be collected again.")
    job = make_job(made, run.path, progress)
    made.pretrained.module.load_state_dict(run.pretrained.module.state_dict())
    job.working.refresh(made.stack.names)
    test = made.feeds.get("test")
    kept: dict[str, Kept] = {}
    for split, feed in (("validation", job.validation), ("test", test)):
        if feed is not None and len(feed):
            with keeping(job.working.module, len(feed)) as keeper:
                score(job, feed, keep=keeper.keep)
            kept[split] = keeper.kept()
    name = "" if run.recipe.method.name is None else parse_method(run.recipe.method.name)[0]
    _collect(Context(job, test, run.result, kept, name, seconds=seconds))


def _how_to_continue(made: Plan, folder: Path, further: list[str]) -> str:
    """The command, or the call where something was given in Python."""
    again = ["data=…"] * (made.recipe.data.path is None) + ["hooks=…"] * bool(further)
    if again:
        return f"unfreeze.resume({', '.join([repr(str(folder)), *again])})"
    return f"unfreeze resume {shlex.quote(str(folder))}"


def _say_finished(folder: Path, about: dict[str, Any]) -> None:
    """The result is written: say so, and drop what only an interruption would need."""
    if Run(folder).status != "finished":
        set_status(folder, "finished", **about)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _say_failed(folder: Path, about: dict[str, Any], error: BaseException) -> None:
    """Leave a note of what went wrong; on a full disk even that may not be possible."""
    try:
        set_status(folder, "failed", **about, error=str(error))
    except (OSError, UnfreezeError):
        return


def _add_tensorboard(job: Job) -> None:
    if job.recipe.output.tensorboard:
        from unfreeze.train.tensorboard import EventFiles

        job.hooks = [*job.hooks, EventFiles(job.folder / "tensorboard")]


def _threads(recipe: Recipe) -> None:
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)


def recipe_of(
    data: Any, model: str | None, recipe: Recipe | None, options: dict[str, Any]
) -> tuple[Recipe, object | None]:
    """A recipe from keyword arguments, and the data if they are objects and not a place.

    Raises
    ------
    RecipeError
        With every unknown option and its nearest name.
    """
    values: dict[str, Any] = {} if model is None else {"model.name": model}
    objects = None
    if isinstance(data, (str, Path)):
        values["data.path"] = str(data)
    else:
        objects = data
    short = _short_names()
    problems = []
    for option, value in options.items():
        key = short.get(option, option.replace("__", "."))
        if key in short.values():
            values[key] = str(value) if isinstance(value, Path) else value
        else:
            problems.append(f"unknown option '{option}'. {nearest(option, short)}")
    if problems:
        raise RecipeError(problems)
    return with_values(recipe or Recipe(), values), objects


def _short_names() -> dict[str, str]:
    """Every field's own name to its dotted key; of two alike the training one wins, the other needs its section."""
    names: dict[str, str] = {}
    for section in ("output", "evaluation", "data", "model", "method", "training"):
        default = getattr(Recipe(), section)
        assert is_dataclass(default)
        for item in fields(default):
            names[item.name] = f"{section}.{item.name}"
            names[f"{section}.{item.name}"] = f"{section}.{item.name}"
    names.pop("path"), names.pop("name")
    return {
        **names,
        "task": "task",
        "seed": "seed",
        "method": "method.name",
        "output": "output.folder",
        "validation": "data.validation",
        "test": "data.test",
    }
