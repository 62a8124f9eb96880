"""How figures are called, and what they say, for readers who do not train models every day."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from unfreeze.report.markup import percent, scored


@dataclass(frozen=True)
class Metric:
    """A metric's name in a sentence and what it tells."""

    name: str
    says: str
    better: str = "higher"
    share: bool = False


METRICS = {
    "accuracy": Metric("accuracy", "share of rows that got the right label", share=True),
    "balanced_accuracy": Metric("balanced accuracy", "mean over the labels of the share found of each", share=True),
    "macro_f1": Metric("macro-averaged F1", "mean over the labels of F1, so that rare labels count as much as others"),
    "micro_f1": Metric("micro-averaged F1", "F1 over all decisions together, so that frequent labels count most"),
    "subset_accuracy": Metric("exact matches", "share of rows whose labels are all right", share=True),
    "mean_average_precision": Metric(
        "mean average precision", "how well each label's rows are ranked first, on average"
    ),
    "worst_group_accuracy": Metric(
        "accuracy of the worst group", "share of rows that are right in the group where it is lowest", share=True
    ),
    "nll": Metric("negative log-likelihood", "how surprised the model is by the truth, in nats", "lower"),
    "ece": Metric("calibration error", "how far stated probabilities are from how often they come true", "lower"),
    "mae": Metric("mean absolute error", "how far predictions are off on average, in the target's unit", "lower"),
    "rmse": Metric("root mean square error", "as the mean absolute error, but large errors count more", "lower"),
    "r2": Metric("R²", "share of the target's variance that predictions explain"),
    "spearman": Metric("Spearman's correlation", "how well predictions put rows into the right order"),
}


def metric(name: str) -> Metric:
    """What is known of a metric; of an unknown one its name."""
    return METRICS.get(name, Metric(name.replace("_", " "), ""))


def value(name: str, figure: Any) -> str:
    """A metric's value with its interval in brackets; shares as per cent."""
    if not isinstance(figure, dict) or not metric(name).share:
        return scored(figure)
    low, high = figure.get("low"), figure.get("high")
    reach = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
    return percent(figure.get("value")) + reach


def rows(count: int, kind: str = "row") -> str:
    """ "1 row", "1,200 rows"."""
    return f"{count:,} {kind}" if count == 1 else f"{count:,} {kind}s"


def judged(result: dict[str, Any]) -> str:
    """The split that figures are told of: the test, or validation where there is no test."""
    return "test" if result.get("test") else "validation"


def typed(argument: object) -> str:
    """An argument as it is typed in a shell: a run's path from where it was made, quoted where it has to be."""
    return shlex.quote(str(argument))
