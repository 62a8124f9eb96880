"""Calibration: outputs whose probabilities mean what they say, fitted on validation and kept beside the model.

A temperature divides the outputs before softmax or sigmoid (Guo et al. 2017, arXiv:1706.04599). It changes how sure a
model is, never what it says. For a number the errors on validation rows give an interval. The same rows say below
which confidence a model has to abstain for a wished error rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from unfreeze.data.manifest import Manifest
from unfreeze.errors import RunError
from unfreeze.tasks._task import Task
from unfreeze.train.files import read_json, write_json

FILE = "calibration.json"
FORMAT = 1

BOUNDS = (0.01, 100.0)
"""Temperatures that are looked at."""

HALVINGS = 30
"""Of that range, on a logarithmic scale: the temperature is then known to one part in 10⁸."""

CELLS = 2_000_000
"""Outputs that a fit looks at: more rows are thinned by seed, as far as they allow a temperature to three digits."""

LEVEL = 0.9
"""Of the interval around a predicted number."""

MOST_STEPS = 200
"""Thresholds that are kept."""

TIE = 1e-6
"""Probabilities that are so near are equal in float32, and which of them comes first may be an accident."""

AT_A_TIME = 8192
"""Rows whose probabilities are in memory together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """A threshold, and what comes of answering only at or above it.

    Parameters
    ----------
    rate : float
        The error rate that the validation rows let one expect: (errors + 1) / (answers + 1). What was not seen among
        so many answers may still come with the next (rule of succession; the same correction as that of conformal
        risk control, Angelopoulos et al. 2024, arXiv:2208.02814).
    threshold : float
        Of confidence.
    coverage, error : float
        The share of validation rows that are answered, and of wrong ones among these.
    test_coverage, test_error : float or None
        The same as observed on the test split; None without one, and for an error without answers.
    """

    rate: float
    threshold: float
    coverage: float
    error: float
    test_coverage: float | None = None
    test_error: float | None = None


@dataclass(frozen=True)
class Calibration:
    """What was fitted on validation rows.

    Parameters
    ----------
    task : str
    rows : int
        Validation rows.
    temperature : tuple of float
        One for classification, one for each label of several; empty for regression.
    radius : float or None
        Half the width of a number's interval, in the target's unit; None where there are too few rows for one.
    level : float
        The share of numbers that their intervals hold.
    steps : tuple of Step
        From the largest coverage to the smallest.
    """

    task: str
    rows: int
    temperature: tuple[float, ...] = ()
    radius: float | None = None
    level: float = LEVEL
    steps: tuple[Step, ...] = ()

    def scaled(self, outputs: Tensor) -> Tensor:
        """Outputs divided by the temperature."""
        return outputs.float() / torch.tensor(self.temperature) if self.temperature else outputs

    def confidence(self, outputs: Tensor) -> Floats:
        """How sure the model is of each row's whole answer, from its outputs as they are; of shape (rows,).

        The probability of the first guess; of several labels that all of them are right, as if they were independent.
        """
        found: Floats = torch.cat([self._sure(self.scaled(part)) for part in outputs.split(AT_A_TIME)]).numpy()
        return found

    def _sure(self, scaled: Tensor) -> Tensor:
        if self.task == "multilabel":
            return logsigmoid(scaled.double().abs()).sum(dim=-1).exp()
        return scaled.softmax(dim=-1).max(dim=-1).values.double()

    def step_for(self, error_rate: float) -> Step:
        """The threshold at which most is answered with no more errors than wished.

        Raises
        ------
        RunError
            If there is no such error rate: the task has none, or the validation rows cannot show one so low.
        """
        if not 0 < error_rate < 1:
            raise RunError(f"An error rate is a number between 0 and 1. Got {error_rate:g} instead.")
        if not self.steps:
            why = "has an interval instead" if self.task == "regression" else "was not calibrated"
            raise RunError(f"There is no error rate to keep: what this model predicts ({self.task}) {why}.")
        found = next((step for step in self.steps if step.rate <= error_rate), None)
        if found is None:
            raise RunError(
                f"The {self.rows} validation rows of this run cannot show an error rate of {error_rate:g}: the lowest "
                f"that they can show is {_up(self.steps[-1].rate):g}. Ask for that, or train with more validation rows."
            )
        return found

    def write(self, folder: Path) -> None:
        """Keep it beside a saved model."""
        write_json(folder / FILE, {"format": FORMAT, **asdict(self)})


def _up(rate: float) -> float:
    """Rounded so that asking for it is granted."""
    return math.ceil(rate * 1e4) / 1e4


def read_calibration(folder: Path) -> Calibration | None:
    """What was kept beside a saved model; None where nothing was.

    Raises
    ------
    RunError
        If the file is damaged or of another version.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        values = dict(read_json(path))
        if values.pop("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        steps = tuple(Step(**step) for step in values.pop("steps"))
        return Calibration(**{**values, "temperature": tuple(values["temperature"]), "steps": steps})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{path}' is damaged ({error}). Without it the model predicts uncalibrated.") from None


# ------------------------------------------------------------------------------------------- temperature


def fit_temperature(outputs: Tensor, targets: Tensor, seed: int = 0) -> float:
    """The temperature of a softmax that maximises the likelihood of some rows.

    Parameters
    ----------
    outputs : Tensor of shape (rows, classes)
    targets : Tensor of shape (rows,)

    The negative log-likelihood is convex in 1 / temperature, so that its slope has one root. Of each target 1 / (rows
    + 1) is spread over all classes: rows that are all right are no proof that the model never errs (Platt 1999). And
    a handful of rows says little: the temperature is drawn towards 1 as if a factor of e were one standard deviation.
    Both vanish as rows grow.
    """
    outputs, targets = _thinned(outputs, targets, seed)
    if not _spread(outputs):
        return 1.0
    spread = 1 / (len(outputs) + 1)
    true = outputs.gather(1, targets[:, None])[:, 0]
    wanted = ((1 - spread) * true + spread * outputs.mean(dim=1)).mean()

    def slope(inverse: Tensor) -> Tensor:
        found: Tensor = ((outputs * inverse).softmax(dim=1) * outputs).sum(dim=1).mean() - wanted
        return len(outputs) * inverse * found + inverse.log()

    return float(1 / _root(slope, 1)[0])


def fit_temperatures(outputs: Tensor, targets: Tensor, seed: int = 0) -> tuple[float, ...]:
    """The temperature of each label's sigmoid that maximises the likelihood of some rows.

    Parameters
    ----------
    outputs, targets : Tensor of shape (rows, labels)

    As `fit_temperature`, but each is drawn towards that of all labels together: a label with a handful of rows says
    little of its own.
    """
    outputs, targets = _thinned(outputs, targets, seed)
    if not _spread(outputs):
        return (1.0,) * outputs.shape[1]
    rows, labels = outputs.shape
    spread = 1 / (rows + 1)
    wanted = ((targets * (1 - spread) + spread / 2) * outputs).mean(dim=0)

    def slopes(inverse: Tensor) -> Tensor:
        return ((outputs * inverse).sigmoid() * outputs).mean(dim=0) - wanted

    def of_all(inverse: Tensor) -> Tensor:
        return rows * inverse * slopes(inverse).mean() + inverse.log()

    together = _root(of_all, 1)

    def drawn(inverse: Tensor) -> Tensor:
        return rows * inverse * slopes(inverse) + (inverse / together).log()

    return tuple((1 / _root(drawn, labels)).tolist())


def _thinned(outputs: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """At most so many rows that a fit takes no longer than some seconds, in double precision."""
    most = max(1000, CELLS // max(1, outputs.shape[1]))
    if len(outputs) > most:
        chosen = torch.from_numpy(np.random.default_rng(seed).permutation(len(outputs))[:most])
        outputs, targets = outputs[chosen], targets[chosen]
    return outputs.double(), targets if targets.dtype == torch.long else targets.double()


def _spread(outputs: Tensor) -> bool:
    """Whether there is anything to scale."""
    return bool(outputs.abs().max() > 1e-9) and bool(torch.isfinite(outputs).all())


def _root(slope: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Where rising functions of 1 / temperature are zero, or the bound beyond which they would be; by halving."""
    low, high = (torch.full((count,), math.log(1 / bound), dtype=torch.float64) for bound in reversed(BOUNDS))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = slope(middle.exp()) < 0
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).exp()


# --------------------------------------------------------------------------------------------- abstention


def is_right(task: str, outputs: Tensor, targets: Tensor) -> NDArray[np.bool_]:
    """Whether each row's whole answer is right: of several labels all of them."""
    if task == "multilabel":
        right = ((outputs >= 0) == (targets > 0.5)).all(dim=-1)
    else:
        right = outputs.argmax(dim=-1) == targets
    found: NDArray[np.bool_] = right.numpy()
    return found


def steps_of(
    sure: Floats, right: NDArray[np.bool_], test: tuple[Floats, NDArray[np.bool_]] | None = None
) -> tuple[Step, ...]:
    """Every threshold that is the best for some wished error rate, from validation rows; told on test rows.

    Parameters
    ----------
    sure, right : arrays of shape (rows,)
        Confidence and correctness of validation rows.
    test : the same of test rows, optional
    """
    order = np.argsort(-sure, kind="stable")
    ordered, errors = sure[order], np.cumsum(~right[order])
    answers = np.arange(1, len(order) + 1)
    rates = (errors + 1) / (answers + 1)
    # Rows of equal confidence are answered together, so that only the last of them can be a threshold.
    last = np.append(ordered[1:] < ordered[:-1], True)
    places = np.flatnonzero(last)
    # From most answers to fewest, a threshold is of use where it promises less than any with more answers.
    least = np.minimum.accumulate(rates[places][::-1])
    useful = places[::-1][np.append(True, least[1:] < least[:-1])]
    useful = useful[_evenly(len(useful), MOST_STEPS)]
    return tuple(
        Step(
            rate=float(rates[place]),
            threshold=float(ordered[place]),
            coverage=float(answers[place] / len(order)),
            error=float(errors[place] / answers[place]),
            **_observed(float(ordered[place]), test),
        )
        for place in useful
    )


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most so many places, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _observed(threshold: float, test: tuple[Floats, NDArray[np.bool_]] | None) -> dict[str, float | None]:
    if test is None:
        return {}
    answered = test[0] >= threshold
    return {
        "test_coverage": float(answered.mean()),
        "test_error": float((~test[1][answered]).mean()) if answered.any() else None,
    }


# --------------------------------------------------------------------------------------------- prediction


def radius_of(errors: Floats, level: float) -> float | None:
    """Half the width of the interval that holds a further number with that probability; None where rows are too few.

    Split conformal prediction (Lei et al. 2018, arXiv:1604.04173): the ⌈(rows + 1) · level⌉-th smallest of the
    absolute errors on rows that nothing was fitted to.
    """
    place = math.ceil((len(errors) + 1) * level)
    return float(np.sort(np.abs(errors))[place - 1]) if 0 < place <= len(errors) else None


def decode(task: Task, outputs: Tensor, manifest: Manifest, calibration: Calibration | None) -> list[dict[str, Any]]:
    """Predictions with calibrated probabilities, or with an `interval` for a number.

    What is predicted is what the outputs say without a temperature: where rounding could turn one of two equal
    probabilities into the larger, the prediction is taken from the outputs as they are.
    """
    if calibration is None:
        return task.decode(outputs, manifest)
    if calibration.task == "regression":
        return [_with_interval(row, calibration) for row in task.decode(outputs, manifest)]
    scaled = calibration.scaled(outputs)
    rows = task.decode(scaled, manifest)
    for place in _near_ties(calibration.task, outputs, scaled):
        rows[place]["prediction"] = task.decode(outputs[place : place + 1], manifest)[0]["prediction"]
    return rows


def _with_interval(row: dict[str, Any], calibration: Calibration) -> dict[str, Any]:
    if calibration.radius is None:
        return row
    value, radius = row["prediction"], calibration.radius
    return {**row, "interval": {"low": value - radius, "high": value + radius, "level": calibration.level}}


def _near_ties(task: str, *outputs: Tensor) -> Sequence[int]:
    """Rows in which two probabilities, or a probability and a half, are equal up to rounding."""
    near = torch.zeros(len(outputs[0]), dtype=torch.bool)
    for each in outputs:
        if task == "multilabel":
            near |= ((each.float().sigmoid() - 0.5).abs() < TIE).any(dim=-1)
        elif each.shape[-1] > 1:
            first, second = each.float().softmax(dim=-1).topk(2, dim=-1).values.unbind(dim=-1)
            near |= first - second < TIE
    places: list[int] = near.nonzero()[:, 0].tolist()
    return places


def abstain(rows: Sequence[dict[str, Any]], sure: Floats, step: Step) -> list[dict[str, Any]]:
    """Predictions of rows that are less sure than the threshold become None; the guess stands beside them."""
    return [
        {**row, "prediction": row["prediction"] if value >= step.threshold else None, "best_guess": row["prediction"]}
        for row, value in zip(rows, sure, strict=True)
    ]
