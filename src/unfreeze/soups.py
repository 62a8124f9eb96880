"""Model soups: the mean of the weights of several runs, which predicts at the cost of one.

Source: Wortsman et al. 2022, Model soups, arXiv:2203.05482. Runs that set out from the same pre-trained weights often
end in the same valley of the loss, where the mean of their weights is as good as an ensemble of them, or nearly so.

Parameters that a method added (of adapters, of low-rank updates) are averaged as they are, as Chronopoulou et al. 2023
(AdapterSoup, arXiv:2302.07027) do; the mean of two low-rank updates' factors is not the factors' mean update, so that
such soups are worth their figures and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from unfreeze.errors import RunError
from unfreeze.methods import Phase
from unfreeze.models.pretrained import Pretrained
from unfreeze.progress import counted
from unfreeze.recipe import Recipe
from unfreeze.run import SOUP, Run, open_run
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.ledger import group_digests
from unfreeze.train.files import write_json
from unfreeze.train.job import Job
from unfreeze.train.loop import Progressed, Training, put, taken
from unfreeze.train.scoring import score
from unfreeze.train.statistics import estimate_statistics

if TYPE_CHECKING:
    from torch import Tensor

Weights: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class Ingredient:
    """One run's weights, and how they fared.

    Parameters
    ----------
    run : Path
    weights : dict of full name to Tensor
        Of the groups that learned in any of the runs.
    value : float or None
        Its own figure on validation; None without validation rows.
    """

    run: Path
    weights: Weights
    value: float | None


@dataclass(frozen=True)
class Soup:
    """The mean of some runs' weights.

    Parameters
    ----------
    job : Job
        With the mean in place; its one phase names the groups that learned in any of the runs.
    weights : dict of full name to Tensor
    steps : list of dict
        Each run, best first: its figure, whether it was taken, and the soup's figure with it.
    frozen : dict
        What the groups that learned in none of the runs hash to.
    """

    job: Job
    weights: Weights
    steps: list[dict[str, Any]]
    greedy: bool
    value: float | None
    frozen: dict[str, str]

    def document(self) -> dict[str, Any]:
        """What soup.json holds."""
        return {
            "kind": "greedy" if self.greedy else "uniform",
            "metric": self.job.metric,
            "higher_is_better": self.job.task.higher_is_better(self.job.metric),
            "value": self.value,
            "runs": self.steps,
        }


# ---------------------------------------------------------------------------------------------------- checks


def mixable(paths: Sequence[str | Path]) -> list[Run]:
    """Finished runs whose weights can be averaged.

    Raises
    ------
    RunError
        If there is none, one stands there twice, they hold updates of low rank, or they differ in task, labels, data,
        splits, pre-trained weights, method of adaptation or preprocessing.
    """
    runs = [open_run(path) for path in paths]
    if not runs:
        raise RunError("There is nothing to average: expected at least one run.")
    places = [run.path.resolve() for run in runs]
    twice = next((run.path for run, place in zip(runs, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise RunError(f"'{twice}' stands there twice: a soup takes each run once.")
    low_rank = next((run for run in runs if run.result["method"].split(":")[0] in ("lora", "qlora")), None)
    if low_rank is not None and len(runs) > 1:
        raise RunError(
            f"'{low_rank.path}' learned updates of low rank, and the mean of factors is not the mean of the updates. "
            "Average them in Python: unfreeze.load_together([…]).average()."
        )
    first, *others = [(run, _facts(run)) for run in runs]
    for run, facts in others:
        differing = next((what for what, value in facts.items() if value != first[1][what]), None)
        if differing is not None:
            raise RunError(
                f"'{first[0].path}' and '{run.path}' cannot be averaged: {differing}"
                f"{_both(first[1][differing], facts[differing])}. {HELP.get(differing, '')}".rstrip()
            )
    return runs


TASK, DATA, START, TUNING, READING = (
    "their tasks or labels differ",
    "they were not trained on the same rows with the same splits",
    "they did not begin with the same pre-trained weights",
    "what was added to the model differs",
    "their architectures or what they read differ",
)

HELP = {
    DATA: "What one learned from may stand in the other's validation. Give all of them the same data.split_seed.",
    START: "Weights that come from different places have no mean that means anything.",
}


def _facts(run: Run) -> dict[str, Any]:
    """What has to be the same, by what is said where it is not."""
    from unfreeze.models.sources import read_description
    from unfreeze.models.store import DESCRIPTION

    _ = run.result  # of an unfinished run there is no model
    manifest, description = run.manifest, read_description(run.path / "model" / DESCRIPTION)
    spec = description["spec"]
    reads = {name: spec.get(name) for name in ("architecture", "max_length", "image_size", "channels", "pooling")}
    return {
        TASK: (manifest.task, manifest.labels, manifest.target_mean, manifest.target_scale),
        DATA: manifest.fingerprint,
        START: description["provenance"]["sha256"],
        TUNING: spec.get("tuning"),
        READING: {"family": description["family"], "drop_top": spec.get("drop_top"), **reads},
    }


def _both(one: Any, other: Any) -> str:
    """Both values, where they can be told in a few words."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in one if one[key] != other.get(key)]
        return f" ({', '.join(f'{key} {one[key]} and {other.get(key)}' for key in keys)})" if keys else ""
    return ""


def soup_recipe(runs: Sequence[Run], output: str | None, overwrite: bool) -> Recipe:
    """The recipe under which the soup is judged: the first run's, with an output of its own.

    It is not compared with training from scratch: a soup has no epochs of its own.
    """
    recipe = runs[0].recipe
    made = replace(recipe.output, folder=output, overwrite=overwrite, tensorboard=False)
    return replace(recipe, evaluation=replace(recipe.evaluation, scratch=False), output=made)


# ---------------------------------------------------------------------------------------------------- mixing


def mix(job: Job, runs: Sequence[Run], greedy: bool) -> Soup:
    """Average the runs' weights, all of them or as long as validation gains.

    Parameters
    ----------
    job : Job
        Of the first run's plan, with the pre-trained weights in place.
    greedy : bool
        Take runs from the best to the worst, each if the figure on validation does not fall with it (Recipe 1 of the
        source); else the mean of all.

    Raises
    ------
    RunError
        If the runs differ where none of them learned, or a greedy soup has no validation rows to choose by.
    """
    if greedy and job.validation is None:
        raise RunError("A greedy soup chooses by validation, and there are no validation rows: leave --greedy out.")
    learned = {name for run in runs for phase in run.result["phases"] for name in phase["learn"]}
    names = tuple(name for name in job.stack.names if name in learned)
    job = replace(job, phases=(Phase(name="soup", learn=names, epochs=0.0),), hooks=())
    frozen = group_digests(job.stack, [name for name in job.stack.names if name not in learned])
    ingredients = [_ingredient(job, run, names, frozen) for run in runs]
    if job.validation is not None:
        sign = 1 if job.task.higher_is_better(job.metric) else -1
        ingredients.sort(key=lambda each: -sign * (each.value or 0.0))
    steps: list[dict[str, Any]] = []
    kept: list[Ingredient] = []
    weights, value = ingredients[0].weights, ingredients[0].value
    for each in ingredients:
        tried, figure = _cooked(job, [*kept, each]) if greedy or each is ingredients[-1] else ({}, None)
        good = not greedy or not kept or _no_worse(job, figure, value)
        if good:
            kept.append(each)
        if good and tried:
            weights, value = tried, figure
        steps.append({"run": str(each.run), "value": each.value, "taken": good, "with_it": figure})
    put(job, weights)
    return Soup(job, weights, steps, greedy, value, frozen)


def _ingredient(job: Job, run: Run, names: Sequence[str], frozen: Mapping[str, str]) -> Ingredient:
    job.progress.stage(f"reading {run.path}")
    pretrained: Pretrained = run.pretrained
    stack = pretrained.stack()
    if group_digests(stack, frozen.keys()) != frozen:
        raise RunError(
            f"'{run.path}' differs from the pre-trained model where none of the runs learned: it is damaged."
        )
    weights = _weights_of(stack, names)
    vars(run).pop("pretrained", None)  # what is frozen need not be in memory once for each run
    return Ingredient(run.path, weights, _figure(job, weights))


def _shapes(stack: LayerStack) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in stack.module.state_dict().items()}


def _weights_of(stack: LayerStack, names: Sequence[str]) -> Weights:
    found: Weights = {}
    for name in names:
        group = stack.group(name)
        found.update({key: tensor.detach() for key, tensor in stack.parameters(group)})
        found.update(stack.buffers(group))
    return found


def _cooked(job: Job, ingredients: Sequence[Ingredient]) -> tuple[Weights, float | None]:
    """The mean of some ingredients with BatchNorm's statistics estimated anew, and its figure on validation."""
    if len(ingredients) == 1:
        return ingredients[0].weights, ingredients[0].value
    put(job, average([each.weights for each in ingredients]))
    estimate_statistics(job)
    weights = taken(job)
    return weights, _figure(job, weights)


def average(several: Sequence[Weights]) -> Weights:
    """The mean of each tensor, summed in double precision; what is no fraction (a count) is the first's."""
    import torch

    first = several[0]
    return {
        name: torch.stack([each[name].double() for each in several]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in first.items()
    }


def _figure(job: Job, weights: Weights) -> float | None:
    if job.validation is None:
        return None
    put(job, weights)
    return score(job, job.validation).compute()[job.metric]


def _no_worse(job: Job, figure: float | None, than: float | None) -> bool:
    sign = 1 if job.task.higher_is_better(job.metric) else -1
    return sign * (figure or 0.0) >= sign * (than or 0.0)


# --------------------------------------------------------------------------------------------------- the run


def training_of_soup(soup: Soup) -> Training:
    """A finished training that ends with the soup, for what scores, saves and proves a run."""
    job = soup.job
    training = Training(job)
    sign = 1 if job.task.higher_is_better(job.metric) else -1
    training.at = Progressed(
        phase=1,
        best=sign * (soup.value or 0.0),
        ledger=[{"phase": "soup", "frozen": dict(soup.frozen), "unchanged": True}],
    )
    training.best = soup.weights
    taken_ = [step["run"] for step in soup.steps if step["taken"]]
    job.note(f"the mean of the weights of {counted(len(taken_), 'run')} ({SOUP}): {', '.join(taken_)}")
    if soup.greedy and len(soup.steps) > 1:
        job.note(
            f"which runs the soup holds was chosen on validation, so that its {job.metric} there flatters it; the test "
            "split took no part"
        )
    return training


def write_soup(folder: Path, soup: Soup) -> None:
    """soup.json: what was averaged, and what was left out."""
    write_json(folder / SOUP, soup.document())
