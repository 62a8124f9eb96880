"""Several runs against the best of them, on the test rows that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unfreeze.errors import RunError
from unfreeze.evaluation.paired import Difference, Paired, Predictions, compare, holm, read_predictions
from unfreeze.run import Run

FEW = 30
"""Shared rows below which no test is worth much."""


@dataclass(frozen=True)
class Against:
    """One run beside the best.

    Parameters
    ----------
    run, best : str
        Their names.
    metric : str
        The one that ranks them.
    paired : Paired or None
        None where they cannot be compared row by row; then `notes` says why.
    difference : Difference or None
        In `metric`, best minus this run; its p is of all runs together (Holm).
    notes : tuple of str
        What weakens the comparison.
    """

    run: str
    best: str
    metric: str
    paired: Paired | None
    difference: Difference | None
    notes: tuple[str, ...] = ()


def names_of(runs: Sequence[Run]) -> list[str]:
    """The runs' folder names; whole paths where two are called the same."""
    names = [run.path.resolve().name for run in runs]
    return [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]


def against_best(runs: Sequence[Run], metric: str) -> list[Against]:
    """Every run but the first against the first, which is the best, in the given order."""
    if len(runs) < 2:
        return []
    names = names_of(runs)
    found = [_pair(runs[0], run, names[0], name, metric) for run, name in zip(runs[1:], names[1:], strict=True)]
    told = [place for place, each in enumerate(found) if each.difference is not None]
    together = holm([difference for each in found if (difference := each.difference) is not None])
    for place, difference in zip(told, together, strict=True):
        each = found[place]
        notes = (*each.notes, *_weak(difference, each.paired))
        found[place] = Against(each.run, each.best, metric, each.paired, difference, notes)
    return found


def _pair(best: Run, run: Run, best_name: str, name: str, metric: str) -> Against:
    untested = [each for each, its in ((best_name, best), (name, run)) if not its.result["test"]]
    if untested:
        return Against(name, best_name, metric, None, None, (f"{' and '.join(untested)} has no test split",))
    try:
        paired = compare(_predictions(best), _predictions(run), seed=best.recipe.seed)
    except RunError as error:
        return Against(name, best_name, metric, None, None, (str(error),))
    return Against(name, best_name, metric, paired, paired.differences.get(metric), _differing(paired))


def _predictions(run: Run) -> Predictions:
    return read_predictions(run.path / "predictions.jsonl", run.manifest.task, run.manifest.labels)


def _differing(paired: Paired) -> tuple[str, ...]:
    if paired.same_test:
        return ()
    if not paired.rows:
        return ("no test row is shared, so that nothing can be told about the difference",)
    parts = [
        f"{count:,} {said}"
        for count, said in (
            (paired.only_first, "stand in the best run's test alone"),
            (paired.only_second, "in this run's test alone"),
            (paired.changed, "have another target"),
        )
        if count
    ]
    return (f"the tests differ: {paired.rows:,} rows are shared, {', '.join(parts)}",)


def _weak(difference: Difference, paired: Paired | None) -> tuple[str, ...]:
    """Whether the shared rows are too few for what is claimed."""
    assert paired is not None
    if paired.rows < FEW:
        return (f"only {paired.rows} shared rows: too few for a test",)
    if not difference.clear and 0 < abs(difference.value) < difference.detectable:
        return ("the test is too small to tell a difference of this size from chance",)
    return ()
