"""What the body of the network has forgotten: retention on a source set, and drift of its features.

Why a probe and not the old head. A loaded body comes without the head that it was pre-trained with: its labels or
tokens are seldom those of the set that a user cares about, and it fits the old features to the digit, so that it breaks
at a drift which loses nothing. Two linear probes tell these apart: one that is fitted anew before and after asks
whether what tells the source's classes apart can still be read off the features; one that was fitted before and is left
as it was shows what a head of the source's own task would lose at once.

The JSON: {"unchanged", "removable", "drift": {"on", "rows", "k", "chance", "cka", "cosine", "neighbours"}, "retention":
{"source", "task", "labels", "rows", "metric", "chance", "before", "after", "unfitted", "difference",
"unfitted_difference"}, "why_no_retention"}; figures have value, low and high. `unchanged`: nothing below the head
learned, so that nothing was measured. `removable`: only what a method put in learned, and without it the network is the
pre-trained one. `unfitted` is the probe that was fitted before and reads the features after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.data.manifest import Examples, Manifest
from unfreeze.data.reference import Reference, read_reference
from unfreeze.errors import DataError
from unfreeze.evidence._before import (
    began_at_random,
    features_before,
    readable,
    seconds_to_load,
    seconds_to_read,
    untouched,
)
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.evidence._features import computing, head_features, sampled
from unfreeze.evidence._probe import compared, probe
from unfreeze.evidence._similarity import cka, cosines, mean_of, shared_neighbours
from unfreeze.models.pretrained import Pretrained
from unfreeze.registry import Card
from unfreeze.tasks import TASKS

ROWS = 1000
NEIGHBOURS = 10
LEAST = 40
"""Rows of the source below which no probe is fitted, and of others below which nothing is said."""


def collect(context: Context) -> dict[str, Any] | None:
    """Drift on the source's rows where there are some, else on validation's; retention where they have labels.

    None where training began with random weights: there is nothing to forget.
    """
    below = [name for name in context.job.learned if name != context.stack.names[-1]]
    if not below:
        return {"unchanged": True}
    if began_at_random(context) or context.pretrained.provenance.source == "random":
        return None
    reference, why = _reference(context)
    found: dict[str, Any] = {
        "unchanged": False,
        "removable": all(context.stack.group(name).beside for name in below) and _inserted(context),
    }
    if reference is not None:
        on, rows = "source", sampled(len(reference.held), ROWS, context.recipe.seed)
        read = (untouched(context), context.pretrained)
        before, after = (_features(context, each, reference.held, rows) for each in read)
    else:
        on = _own_split(context)
        rows, before, after = _own_rows(context, on)
    found["drift"] = {"on": on, **drift(before, after, context.recipe.evaluation.bootstrap, context.recipe.seed)}
    if reference is not None and reference.manifest is not None and len(rows) >= LEAST:
        targets = [reference.held.targets[row] for row in rows]
        found["retention"] = {
            "source": Path(context.recipe.evaluation.source or "").name,
            **_retention(context, reference.manifest, targets, before, after),
        }
    else:
        found["why_no_retention"] = why or (reference.unlabelled if reference is not None else "")
    return found


def least(context: Context) -> float:
    """Seconds for the fewest of the run's own rows that say something; a source is read whatever time there is."""
    below = set(context.job.learned) - {context.stack.names[-1]}
    if not below or began_at_random(context) or context.recipe.evaluation.source is not None:
        return 0.0
    split = _own_split(context)
    passes = 1 if split in context.kept else 2
    return seconds_to_load(context) + passes * seconds_to_read(context, split, LEAST)


def _own_split(context: Context) -> str:
    return "validation" if "validation" in context.feeds else context.judged or "train"


def _own_rows(context: Context, split: str) -> tuple[list[int], Tensor, Tensor]:
    """Rows of the run's own data, and their features before and after training, as far as there is time.

    Raises
    ------
    NoTimeLeft
        If they are too few to say anything.
    """
    enough = min(LEAST, len(context.feeds[split]))
    kept = split in context.kept
    if readable(context, split, 1.0 if kept else 0.5) < enough:
        raise NoTimeLeft
    rows, before = features_before(context, split, ROWS, context.time_left() * (1.0 if kept else 0.5))
    if len(rows) < enough:
        raise NoTimeLeft
    if kept:
        return rows, before, context.features(split)[torch.tensor(rows)]
    return rows, before, _features(context, context.pretrained, context.feeds[split].examples, rows)


def drift(before: Tensor, after: Tensor, resamples: int, seed: int) -> dict[str, Any]:
    """How alike the features of the same rows are: none of it needs a label.

    Returns
    -------
    dict
        `cka` (None with few rows), `cosine` of each row's features, and `neighbours`, the share of each row's `k`
        nearest that are still among them, with its value `chance` for features that have nothing in common.
    """
    rows = len(before)
    k = max(1, min(NEIGHBOURS, (rows - 1) // 4))
    return {
        "rows": rows,
        "k": k,
        "chance": k / max(1, rows - 1),
        "cka": cka(before, after),
        "cosine": mean_of(cosines(before, after), resamples, seed),
        "neighbours": mean_of(shared_neighbours(before, after, k), resamples, seed) if rows > k else None,
    }


def _inserted(context: Context) -> bool:
    """Whether additions were put in, and not picked out of the model's own parameters."""
    before = {name for name, _ in untouched(context).module.named_parameters()}
    added = [group for group in context.stack.groups if group.beside]
    return not any(name in before for group in added for name in group.parameters)


def _reference(context: Context) -> tuple[Reference | None, str]:
    """The source set, or why there is none."""
    source = context.recipe.evaluation.source
    if source is None:
        return None, "no source set was named (evaluation.source)"
    try:
        return read_reference(source, context.manifest, context.recipe.data, context.recipe.seed), ""
    except DataError as error:
        return None, str(error)


def _features(context: Context, pretrained: Pretrained, examples: Examples, rows: list[int]) -> Tensor:
    inputs = [examples.inputs[row] for row in rows]
    return head_features(pretrained, computing(context, pretrained), inputs, context.job.evaluation_batch_size)


def _retention(
    context: Context, manifest: Manifest, targets: list[Any], before: Tensor, after: Tensor
) -> dict[str, Any]:
    task, evaluation = TASKS.get(manifest.task), context.recipe.evaluation
    encoded = torch.stack([task.encode(target, manifest) for target in targets])
    was, stale = probe(before, encoded, manifest.task, context.recipe.seed, after)
    (now,) = probe(after, encoded, manifest.task, context.recipe.seed)
    return {
        "task": manifest.task,
        "labels": len(manifest.labels),
        "rows": len(targets),
        "metric": was.metric,
        "chance": _chance(encoded, manifest.task),
        **compared(was, now, stale, evaluation.bootstrap, context.recipe.seed),
    }


def _chance(encoded: Tensor, task: str) -> float | None:
    """What the same answer for every row reaches; None for several labels, where there is no single such answer."""
    if task == "classification":
        return float(np.bincount(encoded.numpy()).max() / len(encoded))
    return 0.0 if task == "regression" else None


EVIDENCE = Evidence(
    card=Card(
        what="whether a source set's labels can still be read off the features, and how far features have drifted",
        when="training began with pre-trained weights; retention where evaluation.source names a labelled set",
        cost=f"two passes over up to {ROWS} rows, and ten ridges",
        evidence="a probe that is fitted anew shows what is lost for good, one that is not what an old head would lose "
        "at once; drift shows that features changed, not whether for the worse",
        source="linear probes: Alain & Bengio 2016, arXiv:1610.01644; CKA: Kornblith et al. 2019, arXiv:1905.00414; "
        "probing for forgetting: Davari et al. 2022, arXiv:2203.13381",
    ),
    collect=collect,
    order=70,
    least=least,
    timed=True,  # a source that was named is read in any case
)
