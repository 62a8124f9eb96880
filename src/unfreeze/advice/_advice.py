"""What advice is: a change of the recipe, what speaks for it in the run, and how much it may gain. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from unfreeze import _yaml

if TYPE_CHECKING:
    from unfreeze.recipe import Recipe
    from unfreeze.run import Run


@dataclass(frozen=True)
class Advice:
    """One thing to do next.

    Parameters
    ----------
    what : str
        In a few words.
    why : str
        The figures of the run that speak for it.
    gain : float
        What may be gained at most of the figure that speaks for it, as a share of the way that is left to its best
        value; what the evidence allows to say, no promise.
    changes : mapping of dotted key to value
        The recipe's differences; empty where a person has to do something first.
    name : str
        The rule that says so.
    """

    what: str
    why: str
    gain: float
    changes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def command(self, run: Run) -> str | None:
        """What to type to do it, or None where a person has to do something first.

        A command of the shell; for data that were passed in Python a call, in which they stand as `data`.
        """
        if not self.changes:
            return None
        folder = _free(run.path, self.name)
        if run.recipe.data.path is None:
            options = [f"{key.replace('.', '__')}={value!r}" for key, value in self.changes.items()]
            recipe = f"unfreeze.load({str(run.path)!r}).recipe"
            return f"unfreeze.fit({', '.join(['data', f'recipe={recipe}', *options, f'output={folder!r}'])})"
        settings = [f"--set {shlex.quote(f'{key}={_yaml.flow(value)}')}" for key, value in self.changes.items()]
        recipe = shlex.quote(str(run.path / "recipe.resolved.yaml"))
        return " ".join(["unfreeze fit", recipe, *settings, "--output", shlex.quote(folder)])


Rule: TypeAlias = "Callable[[Run], Advice | None]"


def advise(run: Run) -> list[Advice]:
    """Everything that the run's evidence speaks for, in order of what it may gain.

    Raises
    ------
    RunError
        If the run is not finished.
    """
    from dataclasses import replace

    from unfreeze.advice import ADVICE

    _ = run.result
    found = [(name, rule(run)) for name, rule in ADVICE.items()]
    named = [replace(advice, name=name) for name, advice in found if advice is not None]
    return sorted(named, key=lambda advice: (-advice.gain, advice.name))


def _free(path: Path, name: str) -> str:
    """A folder for the next run, beside this one, that is not there yet."""
    wanted = f"{path}-{name}"
    taken = (number for number in range(2, 1000) if not Path(f"{wanted}-{number}").exists())
    return f"{wanted}-{next(taken)}" if Path(wanted).exists() else wanted


def other_method(recipe: Recipe, modality: str, name: str) -> dict[str, Any]:
    """The changes that give a resolved recipe another method, with what was decided for the one before open again.

    A LoRA's rate is ten times that of full fine-tuning, and where only the head learned, images were not augmented:
    neither was asked for, and neither suits the other method.
    """
    training = recipe.training
    changes: dict[str, Any] = {
        "method.name": name,
        "method.options": {},
        "training.lr": None,
        "training.head_lr": None,
    }
    if modality == "image" and not training.augment:
        changes |= {"training.augment": None, "training.cached_views": None}
    if training.memory_budget is not None:
        changes |= {"training.micro_batch": None, "training.gradient_checkpointing": None}
    return changes


def base_method(recipe: Recipe) -> str:
    """The registered name of the recipe's method, without what follows a colon; "" for written phases."""
    from unfreeze.methods._parse import parse_method

    return "" if recipe.method.phases or recipe.method.name is None else parse_method(recipe.method.name)[0]


def figures(run: Run) -> dict[str, dict[str, float | None]]:
    """The figures on validation: what is done next must not be chosen by the test."""
    found: dict[str, dict[str, float | None]] = run.result["validation"]
    return found


def left(value: float, higher_is_better: bool) -> float:
    """The way from a figure to the best value that it can have: 1 where more is better, else 0."""
    return max(1e-6, 1.0 - value if higher_is_better else abs(value))


def share_of_way(gained: float, value: float, higher_is_better: bool) -> float:
    """What may be gained, as a share of the way that is left from a figure to its best value; 0 to 1."""
    return min(1.0, max(0.0, gained / left(value, higher_is_better)))


def course(run: Run) -> list[tuple[int, float, float]]:
    """Of each epoch: its number, the training loss, and validation's metric turned so that more is better."""
    sign = 1.0 if run.result["higher_is_better"] else -1.0
    return [
        (entry["epoch"], entry["loss"], sign * entry["validation"][run.result["metric"]])
        for entry in run.result["history"]
        if entry.get("validation") and entry["validation"].get(run.result["metric"]) is not None
    ]


def mixes(recipe: Recipe) -> bool:
    """Whether training targets are mixed, so that the training loss is no quantity of single rows."""
    return any(str(name).startswith(("mixup", "cutmix")) for name in recipe.training.augment or ())
