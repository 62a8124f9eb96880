"""What advice is: a change of the recipe, what speaks for it in the run, and how much it may gain. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from unfreeze import _yaml

if TYPE_CHECKING:
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
        What may be gained at most of the run's metric, as a share of the way that is left to its best value; what the
        evidence allows to say, no promise.
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
        """What to type to do it, or None where a person has to do something first."""
        if not self.changes:
            return None
        folder = f"{run.path}-{self.name}"
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


def figures(run: Run) -> dict[str, dict[str, float | None]]:
    """The figures on validation: what is done next must not be chosen by the test."""
    found: dict[str, dict[str, float | None]] = run.result["validation"]
    return found


def left(run: Run) -> float | None:
    """What is missing to the best value that the run's metric can have, on validation; None where it has no best."""
    value = (figures(run).get(run.result["metric"]) or {}).get("value")
    if value is None or not run.result["higher_is_better"] or run.result["task"] == "regression":
        return None
    return max(0.0, 1.0 - value)


def course(run: Run) -> list[tuple[int, float, float]]:
    """Of each epoch: its number, the training loss, and validation's metric turned so that more is better."""
    sign = 1.0 if run.result["higher_is_better"] else -1.0
    return [
        (entry["epoch"], entry["loss"], sign * entry["validation"][run.result["metric"]])
        for entry in run.result["history"]
        if entry.get("validation") and entry["validation"].get(run.result["metric"]) is not None
    ]
