"""The worst mistakes with their inputs: wrong answers that the model was most sure of, errors that are largest."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unfreeze.data.images import decode
from unfreeze.data.manifest import ImageRef, Input, Target
from unfreeze.errors import DataError
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card
from unfreeze.tasks.multilabel import THRESHOLD

Array = NDArray[Any]

SHOWN = 24
OF_A_KIND = 6
"""Mistakes shown of one pair of classes, so that one confusion does not fill the page."""

SIDE = 160
MOST_TEXT = 700
SURE = 0.9
MOST_LABELS = 8


def collect(context: Context) -> dict[str, Any] | None:
    """Up to 24 rows of the split that is reported on, the worst first; None without rows."""
    split = context.judged
    if not split:
        return None
    outputs, targets = context.outputs(split), context.targets(split).numpy()
    found: dict[str, Any] = {"split": split, "rows": len(targets)}
    kind = context.manifest.task
    if kind == "classification":
        found |= _of_classes(context, outputs, targets.astype(np.intp))
    elif kind == "multilabel":
        found |= _of_labels(context, outputs.numpy(), targets > THRESHOLD)
    elif kind == "regression":
        found |= _of_numbers(context, outputs.numpy(), targets)
    else:
        return None
    examples = context.feeds[split].examples
    for item in found["examples"]:
        row = item.pop("row")
        item["origin"] = str(examples.origin[row])
        item["target"] = _plain(examples.targets[row])
        item |= shown_input(examples.inputs[row], context.recipe.data.max_pixels)
    return found


def _of_classes(context: Context, outputs: Tensor, true: Array) -> dict[str, Any]:
    total = outputs.logsumexp(dim=1)
    top, first = outputs.max(dim=1)
    guess, sure = first.numpy(), (top - total).exp().numpy()
    of_target = (outputs[torch.arange(len(true)), torch.from_numpy(true)] - total).exp().numpy()
    wrong = np.flatnonzero(guess != true)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")]
    labels = context.manifest.labels
    examples = [
        {
            "row": int(row),
            "prediction": labels[guess[row]],
            "probability": float(sure[row]),
            "probability_of_target": float(of_target[row]),
        }
        for row in varied(worst, ((int(true[row]), int(guess[row])) for row in worst))
    ]
    return {
        "wrong": len(wrong),
        "sure": SURE,
        "sure_and_wrong": int((sure[wrong] >= SURE).sum()),
        "sure_in_all": int((sure >= SURE).sum()),
        "examples": examples,
    }


def varied(rows: Array, kinds: Iterable[Any], most: int = SHOWN, of_a_kind: int = OF_A_KIND) -> list[int]:
    """The first rows, of which at most some are of one kind."""
    seen: Counter[Any] = Counter()
    chosen: list[int] = []
    for row, kind in zip(rows.tolist(), kinds, strict=True):
        seen[kind] += 1
        if seen[kind] <= of_a_kind:
            chosen.append(row)
        if len(chosen) == most:
            break
    return chosen


def _of_labels(context: Context, outputs: Array, truth: Array) -> dict[str, Any]:
    """Rows whose decisions are wrong, those first whose wrong decisions are surest together (their summed log-loss)."""
    wrong = truth != (outputs >= 0)
    cost = (np.logaddexp(0, np.abs(outputs)) * wrong).sum(axis=1)
    rows = np.flatnonzero(wrong.any(axis=1))
    worst = rows[np.argsort(-cost[rows], kind="stable")][:SHOWN]
    labels = context.manifest.labels
    examples = [
        {
            "row": int(row),
            "prediction": _named(labels, np.flatnonzero(outputs[row] >= 0), outputs[row]),
            "missed": _named(labels, np.flatnonzero(truth[row] & wrong[row]), outputs[row]),
            "added": _named(labels, np.flatnonzero(~truth[row] & wrong[row]), outputs[row]),
        }
        for row in worst
    ]
    return {"wrong": len(rows), "examples": examples}


def _named(labels: Sequence[str], places: Array, scores: Array) -> list[list[Any]]:
    """The labels with their probabilities, the surest decision first."""
    order = places[np.argsort(-np.abs(scores[places]), kind="stable")][:MOST_LABELS]
    return [[labels[place], _sigmoid(float(scores[place]))] for place in order]


def _sigmoid(score: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(score, -60.0, 60.0))))


def _of_numbers(context: Context, outputs: Array, targets: Array) -> dict[str, Any]:
    mean, scale = context.manifest.target_mean, context.manifest.target_scale
    predicted = outputs.reshape(-1).astype(np.float64) * scale + mean
    error = predicted - (targets.reshape(-1).astype(np.float64) * scale + mean)
    worst = np.argsort(-np.abs(error), kind="stable")[:SHOWN]
    examples = [
        {"row": int(row), "prediction": float(predicted[row]), "error": float(error[row])}
        for row in worst
        if error[row] != 0
    ]
    return {"examples": examples}


def _plain(target: Target) -> Any:
    return list(target) if isinstance(target, tuple) else target


def shown_input(item: Input, max_pixels: int) -> dict[str, Any]:
    """An input as a person can look at it: its text, cut where it is very long, or a small picture in base64."""
    if isinstance(item, tuple):
        return {"text": _cut(item[0]), "pair": _cut(item[1])}
    if isinstance(item, str):
        return {"text": _cut(item)}
    if isinstance(item, ImageRef):
        try:
            return {"image": thumbnail(decode(item, max_pixels))}
        except DataError as error:
            return {"unreadable": str(error)}
    return {}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def thumbnail(image: Image.Image, side: int = SIDE) -> str:
    """A picture of at most `side` pixels in base64: JPEG, or PNG where it is small enough to be kept as it is."""
    small = max(image.size) <= side // 2
    copy = image.convert("RGB") if image.mode not in ("RGB", "L") else image.copy()
    copy.thumbnail((side, side))
    file = io.BytesIO()
    if small:
        copy.save(file, "PNG", optimize=True)
    else:
        copy.save(file, "JPEG", quality=82, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


EVIDENCE = Evidence(
    card=Card(
        what="the rows that the model is most surely wrong about, with their texts or pictures",
        when="always",
        cost="none beside reading some dozens of inputs again",
        evidence="wrong labels, leaks and shortcuts are seen first in what a model is confidently wrong about",
        source="error analysis; confident errors as label errors: Northcutt et al. 2021, arXiv:1911.00068",
    ),
    collect=collect,
    order=10,
)
