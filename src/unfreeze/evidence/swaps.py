"""What changes when a word that should not matter is put in another's place (evaluation.swaps)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.data.manifest import Input
from unfreeze.evaluation.reading import read
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._gaps import figure
from unfreeze.evidence._terms import variants
from unfreeze.registry import Card

Array = NDArray[Any]

MOST = 2000
"""Texts that are read in another form, at most, for each group of words."""

PORTION = 256
SHOWN = 12
MOST_TEXT = 400


@dataclass(frozen=True)
class Variant:
    """A row with one word put in another's place; `both` says that the text held both, so that they changed places."""

    row: int
    one: str
    other: str
    both: bool
    text: Input


def collect(context: Context) -> dict[str, Any] | None:
    """For each group of words: the share of predictions that change, how far probabilities move, the worst examples.

    None for images, and without words to swap.
    """
    split, swaps = context.judged, context.recipe.evaluation.swaps
    if not split or not swaps or context.manifest.modality != "text":
        return None
    inputs = context.feeds[split].examples.inputs
    draw = np.random.default_rng(context.recipe.seed)
    found = []
    for number, words in enumerate(swaps):
        made = [variant for row, item in enumerate(inputs) for variant in variants_of(row, item, words)]
        rows = len({variant.row for variant in made})
        chosen = [made[place] for place in draw.permutation(len(made))[:MOST].tolist()]
        seconds = context.time_left() / (len(swaps) - number)
        outputs = _outputs(context, [variant.text for variant in chosen], seconds)
        chosen = chosen[: len(outputs)]
        one: dict[str, Any] = {"words": list(words), "rows": rows, "variants": len(made), "read": len(chosen)}
        if chosen:
            one |= _compared(context, split, chosen, outputs)
        found.append(one)
    return {"split": split, "of": len(inputs), "groups": found}


def variants_of(row: int, item: Input, words: Sequence[str]) -> list[Variant]:
    """Each form of a row in which a word of the list stands where another stood; both parts of a pair change alike."""
    if not isinstance(item, (str, tuple)):
        return []
    parts = item if isinstance(item, tuple) else (item,)
    return [
        Variant(row, one, other, both, (texts[0], texts[1]) if len(texts) == 2 else texts[0])
        for one, other, both, texts in variants(parts, words)
        if texts != parts
    ]


def _outputs(context: Context, texts: Sequence[Input], seconds: float) -> Tensor:
    """The model's outputs for as many of the texts as there is time for, and some in any case."""
    ends = time.monotonic() + seconds
    found: list[Tensor] = []
    for start in range(0, len(texts), PORTION):
        if found and time.monotonic() > ends:
            break
        some = texts[start : start + PORTION]
        outputs = torch.zeros(len(some), context.pretrained.spec["outputs"])
        for rows, batch in read(context.pretrained, context.working, some):
            outputs[rows] = batch
        found.append(outputs)
    return torch.cat(found) if found else torch.zeros(0, context.pretrained.spec["outputs"])


def _compared(context: Context, split: str, chosen: Sequence[Variant], outputs: Tensor) -> dict[str, Any]:
    rows = np.array([variant.row for variant in chosen])
    before, after = _answers(context, context.outputs(split)[torch.from_numpy(rows)]), _answers(context, outputs)
    changed, shift = _moved(context, before, after)
    number, seed = context.recipe.evaluation.bootstrap, context.recipe.seed
    found: dict[str, Any] = {
        "changed": None if changed is None else _mean_by_row(changed, rows, number, seed),
        "shift": _mean_by_row(shift, rows, number, seed),
        "pairs": _pairs(context, chosen, before, after, changed, number, seed),
    }
    order = np.lexsort((-shift, np.zeros(len(shift)) if changed is None else -changed))
    found["examples"] = [
        _example(context, split, chosen[place], before[place], after[place], float(shift[place]))
        for place in _one_per_row(order, rows)[:SHOWN]
        if shift[place] > 0
    ]
    return found


def _answers(context: Context, outputs: Tensor) -> Array:
    """Probabilities of shape (rows, labels), or numbers in the target's unit of shape (rows, 1)."""
    kind, manifest = context.manifest.task, context.manifest
    if kind == "classification":
        return np.asarray(outputs.double().softmax(dim=1).numpy())
    if kind == "multilabel":
        return np.asarray(outputs.double().sigmoid().numpy())
    return np.asarray(outputs.double().reshape(-1, 1).numpy() * manifest.target_scale + manifest.target_mean)


def _moved(context: Context, before: Array, after: Array) -> tuple[Array | None, Array]:
    """Whether each prediction changed (None for numbers), and how far: total variation, mean per label, or the unit."""
    kind = context.manifest.task
    if kind == "classification":
        return (before.argmax(1) != after.argmax(1)).astype(float), np.abs(before - after).sum(axis=1) / 2
    if kind == "multilabel":
        return ((before >= 0.5) != (after >= 0.5)).any(axis=1).astype(float), np.abs(before - after).mean(axis=1)
    return None, np.abs(before - after)[:, 0]


def _mean_by_row(values: Array, rows: Array, number: int, seed: int) -> dict[str, float | None]:
    """Mean over variants, and its interval from resampled rows: forms of one text are no independent ones."""
    places, numbered = np.unique(rows, return_inverse=True)
    sums = np.bincount(numbered, weights=values)
    counts = np.bincount(numbered)
    draw = np.random.default_rng(seed)
    draws = None
    if number and len(places) > 1:
        picked = (draw.integers(0, len(places), len(places)) for _ in range(number))
        draws = np.array([sums[some].sum() / counts[some].sum() for some in picked])
    return figure(values.mean(), draws)


def _pairs(
    context: Context,
    chosen: Sequence[Variant],
    before: Array,
    after: Array,
    changed: Array | None,
    number: int,
    seed: int,
) -> list[dict[str, Any]]:
    """For each word put in another's place what it moves predictions to, on average."""
    places: dict[tuple[str, str], list[int]] = {}
    for place, variant in enumerate(chosen):
        if not variant.both:
            places.setdefault((variant.one, variant.other), []).append(place)
    found = []
    for (one, other), mine in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        moves = after[mine] - before[mine]
        towards = int(np.abs(moves.mean(axis=0)).argmax())
        if context.manifest.task == "classification" and len(context.manifest.labels) == 2:
            towards = 1
        rows = np.array([chosen[place].row for place in mine])
        labels = context.manifest.labels
        found.append(
            {
                "from": one,
                "to": other,
                "texts": len(mine),
                "changed": None if changed is None else float(changed[mine].mean()),
                "label": labels[towards] if labels else None,
                "shift": _mean_by_row(moves[:, towards], rows, number, seed),
            }
        )
    return found


def _one_per_row(order: Array, rows: Array) -> list[int]:
    """Places in order, of each row only the first."""
    seen: set[int] = set()
    return [int(place) for place in order if not (rows[place] in seen or seen.add(int(rows[place])))]  # type: ignore[func-returns-value]


def _example(
    context: Context, split: str, variant: Variant, before: Array, after: Array, shift: float
) -> dict[str, Any]:
    examples = context.feeds[split].examples
    return {
        "origin": str(examples.origin[variant.row]),
        "from": variant.one,
        "to": variant.other,
        "text": _cut(examples.inputs[variant.row]),
        "changed_text": _cut(variant.text),
        "before": _said(context, before),
        "after": _said(context, after),
        "shift": shift,
    }


def _cut(item: Input) -> str:
    text = " | ".join(item) if isinstance(item, tuple) else str(item)
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def _said(context: Context, answer: Array) -> dict[str, Any]:
    """A prediction with its probability, for the report."""
    labels, kind = context.manifest.labels, context.manifest.task
    if kind == "classification":
        return {"prediction": labels[int(answer.argmax())], "probability": float(answer.max())}
    if kind == "multilabel":
        return {"prediction": [labels[place] for place in np.flatnonzero(answer >= 0.5)]}
    return {"prediction": float(answer[0])}


EVIDENCE = Evidence(
    card=Card(
        what="predictions for the same texts with a word that should not matter put in another's place",
        when="text, with groups of words in evaluation.swaps: names, pronouns, places",
        cost="one forward pass over each changed text, at most 2,000 for each group of words",
        evidence="counterfactual substitution shows direct dependence on a word, not dependence on what goes with it; "
        "a changed word can make a text odd, which shifts predictions too",
        source="Garg et al. 2019, Counterfactual Fairness in Text Classification, arXiv:1809.10610",
    ),
    collect=collect,
    order=46,
    timed=True,
)
