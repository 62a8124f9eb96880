"""Labels that may be wrong, as a table for review: each judged by a model that has not learned from it."""

from __future__ import annotations

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.data.duplicates import digest
from unfreeze.data.images import content
from unfreeze.data.manifest import ImageRef, Input, Target
from unfreeze.data.suspects import Suspect, contents, in_words, suspect_of, table_of
from unfreeze.evidence._before import began_at_random, features_before, readable
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.evidence._label_errors import Judged, judge_classes, judge_labels, judge_numbers, share_of_errors
from unfreeze.evidence._linear import LOGISTIC, out_of_fold, seconds_to_fit
from unfreeze.evidence.mistakes import shown_input, varied
from unfreeze.registry import Card
from unfreeze.train.files import write_bytes

Array = NDArray[Any]

FILE = "labels.csv"

MOST_TRAIN = 20_000
LEAST = 30
"""Rows below which nothing is judged."""

ENOUGH = 10
"""Rows for each label below which a judge who could not read all rows says more about himself than about labels."""

FOLDS = 5
SHARE = 0.5
"""Part of the time left that reading training rows may take."""

LOADING = 1.4
"""Seconds, about, that cleanlab takes to load."""

SHOWN = 24
MOST_PAIRS = 10
RESAMPLES = 200


@dataclass(frozen=True)
class Part:
    """Some rows that are judged together by one judge."""

    rows: list[tuple[str, int]]
    outputs: Tensor
    targets: Tensor


def collect(context: Context) -> dict[str, Any] | None:
    """Suspects among the rows held back and the training rows; all of them stand in RUN/evidence/labels.csv.

    Rows of validation and test are judged by the run's model, which has not learned from them. Training rows it has
    learned, perhaps by heart; they are judged by linear models on the features of the model before training, each row
    by one that was fitted without it.
    """
    if context.manifest.task not in ("classification", "multilabel", "regression"):
        return None
    if max(0.0, context.time_left()) < least(context):
        raise NoTimeLeft
    parts: dict[str, Part] = {}
    left_out: dict[str, str] = {}
    held = _held_back(context)
    if held is not None:
        parts["held back"] = held
    train = _train(context)
    if isinstance(train, str):
        left_out["train"] = train
    else:
        parts["train"] = train
    quick = context.manifest.task == "classification" and max(0.0, context.time_left()) < _loading()
    judged = {name: _judge(context, part, quick) for name, part in parts.items()}
    suspects = [
        _suspect(context, part, judged[name], row) for name, part in parts.items() for row in _worst(judged[name])
    ]
    if parts:
        table = table_of(sorted(suspects, key=lambda one: (one.split != "train", one.split, one.score)))
        write_bytes(context.folder / "evidence" / FILE, table.encode())
    return {
        "parts": {name: _told(context, part, judged[name], quick) for name, part in parts.items()},
        "judge": "distance" if context.manifest.task == "regression" else "rule" if quick else "cleanlab",
        "left_out": left_out,
        "suspects": len(suspects),
        "file": FILE,
    }


def least(context: Context) -> float:
    """Seconds for judging the rows held back."""
    return _loading() if context.manifest.task in ("multilabel", "regression") else 0.0


def _loading() -> float:
    """Seconds until cleanlab can be asked."""
    return 0.0 if "cleanlab" in sys.modules else LOADING


def _held_back(context: Context) -> Part | None:
    """Rows of validation and test together, with the run's own outputs."""
    splits = [name for name in ("validation", "test") if name in context.kept]
    rows = [(split, row) for split in splits for row in range(len(context.feeds[split]))]
    if len(rows) < LEAST:
        return None
    outputs = torch.cat([context.outputs(split) for split in splits])
    return Part(rows, outputs, torch.cat([context.targets(split) for split in splits]))


def _train(context: Context) -> Part | str:
    """Training rows, as many as there is time to read, with answers from outside their fold; or why there are none."""
    if began_at_random(context):
        return "the model began at random weights: there are no features to judge training rows by"
    enough = min(len(context.feeds["train"]), ENOUGH * context.task.outputs(context.manifest))
    rows: list[int] = []
    left = max(0.0, context.time_left())
    share = SHARE * (1 - min(left, least(context)) / left if 0 < left < math.inf else 1.0)
    if readable(context, "train", share) >= enough:
        rows, features = features_before(context, "train", MOST_TRAIN, share * left)
    if len(rows) < enough:
        return "too few rows of each label could be read in the time that was left"
    chosen = torch.tensor(rows, dtype=torch.long)
    targets = context.targets("train")[chosen]
    if context.manifest.task == "classification" and len(rows):
        # The label of a row that is alone with it cannot be confirmed by others.
        common = torch.bincount(targets)[targets] > 1
        chosen, features, targets = chosen[common], features[common], targets[common]
    if len(chosen) < LEAST:
        return "too few rows could be read in the time that was left"
    width = context.task.outputs(context.manifest)
    together = context.manifest.task == "classification" and len(features) * width <= LOGISTIC
    if together and seconds_to_fit(len(features), features.shape[1], width, FOLDS) > SHARE * context.time_left():
        return "there was too little time left to fit their judges"
    outputs = out_of_fold(context.manifest.task, features, targets, width, FOLDS, context.recipe.seed)
    return Part([("train", int(row)) for row in chosen], outputs, targets)


def _judge(context: Context, part: Part, quick: bool) -> Judged:
    kind, outputs = context.manifest.task, part.outputs.double()
    if kind == "classification":
        return judge_classes(outputs.softmax(dim=1).numpy(), part.targets.numpy().astype(np.intp), quick=quick)
    if kind == "multilabel":
        return judge_labels(outputs.sigmoid().numpy(), part.targets.numpy() > 0.5)
    return judge_numbers(_numbers(context, part.outputs), _numbers(context, part.targets))


def _numbers(context: Context, values: Tensor) -> Array:
    mean, scale = context.manifest.target_mean, context.manifest.target_scale
    return np.asarray(values.double().reshape(-1).numpy() * scale + mean)


def _worst(judged: Judged) -> list[int]:
    """Places of the suspects, the worst first."""
    places = np.flatnonzero(judged.suspect)
    return [int(place) for place in places[np.argsort(judged.score[places], kind="stable")]]


def _suspect(context: Context, part: Part, judged: Judged, place: int) -> Suspect:
    split, row = part.rows[place]
    examples = context.feeds[split].examples
    item = examples.inputs[row]
    return suspect_of(
        str(examples.origin[row]),
        split,  # type: ignore[arg-type]
        item,
        examples.targets[row],
        suggested=_named(context, judged.suggested[place]),
        score=float(judged.score[place]),
        content=contents([item])[0],
        key=_key(item),
    )


def _key(item: Input) -> str:
    """The digest by which the data layer knows an input: of an image the file's."""
    if isinstance(item, ImageRef):
        return hashlib.sha256(content(item)).hexdigest()
    return digest(item)


def _named(context: Context, suggested: Any) -> Target:
    labels, kind = context.manifest.labels, context.manifest.task
    if kind == "classification":
        return labels[int(suggested)]
    if kind == "multilabel":
        return tuple(labels[place] for place in np.flatnonzero(suggested))
    return float(f"{float(suggested):.6g}")


def _told(context: Context, part: Part, judged: Judged, quick: bool) -> dict[str, Any]:
    """What the report shows of one part."""
    kind, count = context.manifest.task, len(part.rows)
    of = Counter(split for split, _ in part.rows)
    found: dict[str, Any] = {
        "rows": dict(of),
        "of": {split: len(context.feeds[split]) for split in of},
        "suspects": int(judged.suspect.sum()),
        "share": float(judged.suspect.sum() / count),
    }
    if kind == "classification":
        shares, given = part.outputs.double().softmax(dim=1).numpy(), part.targets.numpy().astype(np.intp)
        number = min(RESAMPLES, context.recipe.evaluation.bootstrap)
        found["estimated"] = share_of_errors(shares, given, number, context.recipe.seed, quick=quick)
        found["agreement"] = float((shares.argmax(axis=1) == given).mean())
        found["pairs"] = _pairs(context, given, judged)
    elif kind == "multilabel":
        found["agreement"] = float((judged.suggested == (part.targets.numpy() > 0.5)).mean())
    else:
        residual = _numbers(context, part.outputs) - _numbers(context, part.targets)
        spread = float(np.var(_numbers(context, part.targets)))
        found["r2"] = float(1 - np.mean(residual**2) / spread) if spread > 0 else None
    found["examples"] = [_example(context, part, judged, place) for place in _shown(context, part, judged)]
    return found


def _pairs(context: Context, given: Array, judged: Judged) -> list[dict[str, Any]]:
    """Which label is most often suspected to be which other one."""
    labels = context.manifest.labels
    places = np.flatnonzero(judged.suspect)
    counts = Counter(zip(given[places].tolist(), judged.suggested[places].tolist(), strict=True))
    return [
        {"given": labels[one], "suggested": labels[other], "rows": rows}
        for (one, other), rows in counts.most_common(MOST_PAIRS)
    ]


def _shown(context: Context, part: Part, judged: Judged) -> Sequence[int]:
    worst = _worst(judged)
    if context.manifest.task != "classification":
        return worst[:SHOWN]
    kinds = ((int(part.targets[place]), int(judged.suggested[place])) for place in worst)
    return varied(np.array(worst, dtype=np.intp), kinds, SHOWN)


def _example(context: Context, part: Part, judged: Judged, place: int) -> dict[str, Any]:
    split, row = part.rows[place]
    examples = context.feeds[split].examples
    return {
        "origin": str(examples.origin[row]),
        "split": split,
        "given": in_words(examples.targets[row]),
        "suggested": in_words(_named(context, judged.suggested[place])),
        "score": float(judged.score[place]),
        **shown_input(examples.inputs[row], context.recipe.data.max_pixels),
    }


EVIDENCE = Evidence(
    card=Card(
        what="rows whose label is probably wrong, by a model that has not learned from them, as a table for review",
        when="always; above all where labels come from crowds, rules or several hands",
        cost="held back rows: a second, in which cleanlab loads, or for one label of several next to nothing where "
        "there is less; training rows: up to 20,000 are read by the model before training",
        evidence="of suspects on ten well-known test sets people confirmed half (Northcutt et al. 2021, "
        "arXiv:2103.14749); hard but rightly labelled rows are among them, so that a person has to look",
        source="confident learning: Northcutt, Jiang and Chuang 2021, arXiv:1911.00068 (cleanlab)",
    ),
    collect=collect,
    order=30,
    timed=True,
    least=least,
)
