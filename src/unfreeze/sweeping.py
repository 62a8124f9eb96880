"""A sweep: many heads trained together on one set of features, compared by validation, and the best made a run."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unfreeze.errors import DivergedError, Interrupted, RecipeError, nearest
from unfreeze.grid import Grid
from unfreeze.optim.stacked import STACKED
from unfreeze.planning import Plan
from unfreeze.progress import counted
from unfreeze.recipe import Recipe
from unfreeze.run import LOG, SWEEP
from unfreeze.stack.ledger import check_copy, check_frozen, group_digests
from unfreeze.train.files import finite, write_bytes, write_json
from unfreeze.train.head_inputs import head_inputs, head_of, kept_features
from unfreeze.train.heads import HeadTraining, Place
from unfreeze.train.job import Job
from unfreeze.train.loop import Progressed, Training
from unfreeze.train.replaying import Replayed
from unfreeze.train.worst_group import METRIC as WORST_GROUP

BY = "the mean over the seeds of each one's best epoch on validation; of the best configuration, the best seed"


def sweepable(recipe: Recipe) -> Recipe:
    """The recipe with the method `head`, if it has nothing that heads trained together cannot follow.

    Raises
    ------
    RecipeError
        With every problem.
    """
    training, method = recipe.training, recipe.method
    problems: list[str] = []
    if method.phases or method.name not in (None, "head"):
        asked = "written phases" if method.phases else f"'{method.name}'"
        problems.append(f"A sweep trains heads on frozen features: its method is 'head'. Got {asked} instead.")
    if training.optimizer not in STACKED:
        problems.append(
            f"A sweep updates heads by {' or '.join(STACKED)}. Got training.optimizer '{training.optimizer}' instead. "
            f"{nearest(training.optimizer, STACKED)}"
        )
    if training.ema:
        problems.append("A sweep does not average weights: leave training.ema out.")
    if method.group_dro or training.class_weights == "group-balanced":
        problems.append("A sweep does not weigh losses by group: leave method.group_dro and class_weights out.")
    if recipe.evaluation.metric == WORST_GROUP:
        problems.append(f"A sweep does not score groups: leave evaluation.metric {WORST_GROUP} out.")
    if training.augment:
        problems.append("A sweep reads every row once, as it is: leave training.augment out.")
    if recipe.output.tensorboard:
        problems.append("A sweep writes no event files: leave output.tensorboard out.")
    if problems:
        raise RecipeError(problems)
    return replace(recipe, method=replace(method, name="head"))


@dataclass(frozen=True)
class Swept:
    """All heads of a grid, trained.

    Parameters
    ----------
    replayed : dict
        Kept features by the id of the feed, from which the best head is scored.
    frozen : dict
        What the frozen groups hashed to before and after.
    """

    grid: Grid
    training: HeadTraining
    replayed: dict[int, Replayed]
    frozen: dict[str, str]

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row for each rate and decay, the best first; those of which a head diverged have no mean: last."""
        rows = [self._row(number) for number in range(len(self.grid.configurations))]
        sign = -1 if self.higher_is_better else 1
        return sorted(rows, key=lambda row: (row["mean"] is None, sign * (row["mean"] or 0.0)))

    @property
    def higher_is_better(self) -> bool:
        """Whether more of the metric is better."""
        job = self.training.job
        return job.task.higher_is_better(job.metric)

    @property
    def best(self) -> Place:
        """Seed and configuration of the head that is kept.

        Raises
        ------
        DivergedError
            If of every configuration a head diverged.
        """
        first = self.table[0]
        if first["mean"] is None:
            raise DivergedError(
                f"No configuration was trained from every seed: the loss became infinite with each rate from "
                f"{min(self.grid.rates):g} to {max(self.grid.rates):g}. Try lower rates, or more training.warmup."
            )
        number = self.grid.configurations.index((first["head_lr"], first["weight_decay"]))
        places = [(seed, number) for seed in range(len(self.grid.seeds))]
        return max(places, key=lambda place: self.training.courses[place].best)

    def document(self) -> dict[str, Any]:
        """What sweep.json holds."""
        (seed, number), metric = self.best, self.training.job.metric
        rate, decay = self.grid.configurations[number]
        course = self.training.courses[seed, number]
        return {
            "metric": metric,
            "higher_is_better": self.higher_is_better,
            "heads": len(self.grid),
            "chosen_by": BY,
            "best": {
                "head_lr": rate,
                "weight_decay": decay,
                "seed": self.grid.seeds[seed],
                "epoch": course.best_epoch,
                "value": course.figures["validation"][metric],
            },
            "table": self.table,
        }

    def _row(self, number: int) -> dict[str, Any]:
        rate, decay = self.grid.configurations[number]
        seeds = [self._seed((seed, number)) for seed in range(len(self.grid.seeds))]
        values = [seed["value"] for seed in seeds if "value" in seed]
        whole = len(values) == len(seeds)
        return {
            "head_lr": rate,
            "weight_decay": decay,
            "mean": statistics.fmean(values) if whole else None,
            "spread": statistics.stdev(values) if whole and len(values) > 1 else None,
            "seeds": seeds,
        }

    def _seed(self, place: Place) -> dict[str, Any]:
        course, seed = self.training.courses[place], self.grid.seeds[place[0]]
        if course.diverged:
            return {"seed": seed, "diverged_in_epoch": course.diverged}
        scores = course.figures["validation"]
        return {
            "seed": seed,
            "value": scores[self.training.job.metric],
            "best_epoch": course.best_epoch,
            "validation": scores,
        }


def train_together(job: Job, grid: Grid) -> Swept:
    """Train every head of the grid on the features of the job's frozen part.

    Raises
    ------
    RecipeError
        If there are no validation rows.
    Interrupted
        Ctrl-C; nothing is kept but the features.
    """
    if job.validation is None:
        raise RecipeError("A sweep chooses by validation, and there are no validation rows: see data.validation_share.")
    head_of(job)
    phase = job.phases[0]
    job.working.set_learning(phase.learn)
    names = [name for name in job.stack.names if name not in phase.learn]
    frozen = group_digests(job.stack, names)
    try:
        replayed = kept_features(job, len(grid))
        inputs, held_out = (head_inputs(job, feed, replayed.get(id(feed))) for feed in (job.train, job.validation))
        job.progress.stage(f"training {counted(len(grid), 'head')} together")
        training = HeadTraining(job, grid, inputs, held_out)
        training.run()
    except KeyboardInterrupt:
        raise Interrupted("Interrupted. A sweep is not resumed: give the same command again.") from None
    check_frozen(job.stack, frozen, phase.name)
    check_copy(job.working, names, phase.name)
    return Swept(grid, training, replayed, frozen)


def plan_of_best(made: Plan, swept: Swept) -> Plan:
    """The plan of the best head's own run: its rate, decay and seed written in, and the splits as they are."""
    best = swept.document()["best"]
    recipe, how = made.recipe, f"the best of {counted(len(swept.grid), 'head')} by validation (sweep.json)"
    data = recipe.data
    if data.split_seed is None:
        data = replace(data, split_seed=recipe.seed)
    training = replace(recipe.training, head_lr=best["head_lr"], weight_decay=best["weight_decay"])
    reasons = {
        **made.reasons,
        "data.split_seed": "the splits of the sweep",
        **dict.fromkeys(("training.head_lr", "training.weight_decay", "seed"), how),
    }
    return replace(made, recipe=replace(recipe, data=data, training=training, seed=best["seed"]), reasons=reasons)


def training_of_best(job: Job, swept: Swept) -> Training:
    """The finished training of the best head, as the loop would have left it; `job` is that of its own run."""
    place, phase = swept.best, job.phases[0]
    course, training = swept.training.courses[place], Training(job)
    steps = course.history[-1]["step"]
    ledger = [{"phase": phase.name, "frozen": dict(swept.frozen), "unchanged": True}]
    training.at = Progressed(
        phase=1,
        step=steps,
        epoch=len(course.history),
        best=course.best,
        best_epoch=course.best_epoch,
        lr=course.history[-1]["lr"],
        history=course.history,
        ledger=ledger,
        stopped=course.stopped,
    )
    (path, _), *_ = job.stack.modules(job.stack.groups[-1])
    weight, bias = (part[place].cpu() for part in swept.training.best.parts)
    training.best = {f"{path}.weight": weight, f"{path}.bias": bias}
    training.replayed = swept.replayed
    value = course.figures["validation"][job.metric]
    job.note(
        f"the best of {counted(len(swept.grid), 'head')} by validation, so that its {job.metric} of {value:.4f} there "
        "flatters it; the test split took no part in the choice"
    )
    return training


def write_sweep(folder: Path, swept: Swept) -> None:
    """sweep.json, and log.jsonl as the best head's own run would have written it."""
    write_json(folder / SWEEP, swept.document())
    lines = (json.dumps(finite(entry), ensure_ascii=False) for entry in swept.training.courses[swept.best].history)
    write_bytes(folder / LOG, "".join(f"{line}\n" for line in lines).encode())
