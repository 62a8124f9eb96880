"""Evidence: the model on data of other domains, and on its own test rows corrupted.

Sets that were asked for are read whatever time there is, if only in part; corruptions as far as there is time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unfreeze.data.manifest import Quarantined
from unfreeze.data.prepare import labelled
from unfreeze.errors import UserError
from unfreeze.evaluation.calibration import read_calibration
from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evaluation.out_of_distribution import Reference, read_reference, separation
from unfreeze.evaluation.resampling import resample, widened
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._paired import Figure, metric_of
from unfreeze.evidence._reading import SHARE, affordable, in_order, names_of, outputs_and_features
from unfreeze.evidence._reliability import columns_of, figures
from unfreeze.evidence._suite import corrupted_suite, usual
from unfreeze.registry import Card

FEWEST = 200
"""Rows of a further set that are read whatever time there is: somebody asked for it."""

MOST_REASONS = 8


def collect(context: Context) -> dict[str, Any] | None:
    """Score further sets, then the corrupted test rows."""
    if not context.judged:
        return None
    reference = read_reference(context.folder / "model")
    sources = context.recipe.evaluation.shift
    sets = [_set(context, *each, reference) for each in zip(names_of(sources), sources, strict=True)]
    metric = metric_of(context)
    higher = context.task.higher_is_better(metric)
    for item in sets:
        item["drop"] = _drop(item, metric, higher)
    return {
        "metric": metric,
        "higher_is_better": higher,
        "judged": context.judged,
        "sets": sets,
        "suite": corrupted_suite(context, reference),
        "findings": _findings(sets, metric, higher),
    }


def _drop(item: dict[str, Any], metric: str, higher: bool) -> Figure | None:
    """How much worse the metric is than within the distribution: lower, or of an error higher."""
    figure = item.get("difference", {}).get(metric)
    if not figure or figure["value"] is None:
        return None
    if not higher:
        return dict(figure)
    turned = {"value": "value", "low": "high", "high": "low"}
    return {end: None if figure[other] is None else -figure[other] for end, other in turned.items()}


def _findings(sets: Sequence[dict[str, Any]], metric: str, higher: bool) -> list[dict[str, str]]:
    """Sets on which the model is clearly worse."""
    found = []
    for item in sets:
        figure = item.get("difference", {}).get(metric) or {}
        edge = figure.get("high" if higher else "low")
        if edge is not None and (edge < 0 if higher else edge > 0):
            name = metric.replace("_", " ")
            text = f"On “{item['name']}” {name} differs by {figure['value']:+.3f} from the figure above."
            found.append({"text": text, "kind": "warning"})
    return found


# --------------------------------------------------------------------------------------------- further sets


def _set(context: Context, name: str, source: str, reference: Reference | None) -> dict[str, Any]:
    """A further set: its figures, how they differ from those in distribution, and how far its rows lie."""
    try:
        examples, out = labelled(source, context.manifest, context.recipe.data)
    except UserError as error:
        return {"name": name, "source": source, "problem": str(error)}
    order = in_order(len(examples), context.recipe.seed)
    inputs = [examples.inputs[row] for row in order]
    share = SHARE / max(1, len(context.recipe.evaluation.shift))
    count = int(min(len(inputs), max(FEWEST, affordable(context, inputs, share))))
    outputs, features = outputs_and_features(context, inputs[:count])
    targets = torch.stack([context.task.encode(examples.targets[row], context.manifest) for row in order[:count]])
    scorer = context.task.scorer(context.manifest)
    scorer.update(outputs, targets)
    metrics = with_intervals(scorer, context.recipe.evaluation.bootstrap, context.recipe.seed)
    within = context.result.get(context.judged) or {}
    return {
        "name": name,
        "source": source,
        "split": examples.split,
        "rows": count,
        "of": len(examples),
        "left_out": _reasons(out),
        "metrics": metrics,
        "difference": {key: difference(figure, within[key]) for key, figure in metrics.items() if key in within},
        "calibration": _calibration(context, outputs, targets),
        "distance": None if reference is None else _distance(context, reference, features),
    }


def difference(there: Figure, here: Figure) -> Figure:
    """A figure minus another of other rows, with its 95 % interval from both intervals.

    Source: MOVER, Zou & Donner 2008, doi:10.1002/sim.3095: neither interval has to be symmetric.
    """
    a, b = there.get("value"), here.get("value")
    if a is None or b is None:
        return {"value": None, "low": None, "high": None}
    ends = [there.get("low"), there.get("high"), here.get("low"), here.get("high")]
    if any(end is None for end in ends):
        return {"value": a - b, "low": None, "high": None}
    low, high, other_low, other_high = (float(end) for end in ends if end is not None)
    return {
        "value": a - b,
        "low": a - b - ((a - low) ** 2 + (other_high - b) ** 2) ** 0.5,
        "high": a - b + ((high - a) ** 2 + (b - other_low) ** 2) ** 0.5,
    }


def _reasons(out: Sequence[Quarantined]) -> list[dict[str, Any]]:
    """Why rows of a set could not be scored, most often first; labels that the model does not know by name."""
    counts = Counter(re.sub(r" (Did you mean|Known:).*", "", row.reason, flags=re.DOTALL) for row in out)
    told = [{"reason": reason, "rows": count} for reason, count in counts.most_common(MOST_REASONS)]
    rest = len(out) - sum(count for _, count in counts.most_common(MOST_REASONS))
    return [*told, *([{"reason": "other reasons", "rows": rest}] if rest else [])]


def _calibration(context: Context, outputs: Tensor, targets: Tensor) -> dict[str, Any] | None:
    """The calibration error of a set, without and with the temperature that was fitted within the distribution."""
    calibration = read_calibration(context.folder / "model")
    if calibration is None or not calibration.temperature:
        return None
    seed, resamples = context.recipe.seed, context.recipe.evaluation.bootstrap
    sides = {"before": replace(calibration, temperature=()), "after": calibration}
    return {
        side: figures(resample(columns_of(each, outputs, targets), resamples, seed))["ece"]
        for side, each in sides.items()
    }


def _distance(context: Context, reference: Reference, features: Tensor) -> dict[str, Any]:
    """How well a set's rows are told from usual ones, and how many of them lie beyond nearly all of these."""
    beyond = reference.percentile(features)[:, None] >= 95
    drawn = resample(beyond, context.recipe.evaluation.bootstrap, context.recipe.seed)
    return {
        "auroc": separation(usual(context, reference), reference.distance(features)),
        "beyond_95": widened(drawn.column(0), len(features)),
    }


EVIDENCE = Evidence(
    Card(
        what="figures on sets of other domains (evaluation.shift), and on test rows with noise, blur, typos and such",
        when="the model will see data unlike the training rows, which it nearly always will",
        cost="the further sets are read once; corruptions take as many passes over some test rows as time allows",
        evidence="accuracy under natural shift falls with accuracy within, in most networks (arXiv:2007.00644); "
        "synthetic corruptions say what breaks a model, not how it will do on another domain",
        source="Hendrycks & Dietterich 2019, arXiv:1903.12261",
    ),
    collect,
    order=60,
    timed=True,
    # Not `costly`, which would leave it out where no time is left: sets that were asked for are read nevertheless, if
    # only in part; the suite looks at the time itself.
)
