"""How far each layer group moved: its weights, and what leaves it.

The JSON: {"split", "rows", "groups": [{"name", "kind" ("own", "addition", "head"), "learned", "parameters",
"unchanged" (every parameter and buffer is the same to the bit), "relative_change", "buffers_change", "cka", "cka_low",
"cka_high", "cka_rows"}]}, groups from the lowest to the head. `relative_change` is ‖after - before‖ / ‖before‖ over the
parameters, None where they started at zero; the head's is against its random start. `cka` is None for additions, for
groups whose output has no row per input, and with too few rows. Where the head alone learned the others' is 1 without
any row being read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from unfreeze.data.manifest import Input
from unfreeze.evidence._before import (
    LOADING,
    load_before,
    only_the_head_learned,
    rows_in_time,
    seconds_of_a_row,
    size,
)
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.evidence._features import computing, group_features, sampled
from unfreeze.evidence._similarity import cka
from unfreeze.models.head import Head
from unfreeze.models.pretrained import Pretrained
from unfreeze.registry import Card
from unfreeze.stack.groups import LayerGroup, LayerStack

ROWS = 256

COMPARING = 0.15
"""About what it takes to compare and to copy the weights of a small model, in seconds."""

SLOWER = {"text": 3.0, "image": 1.0}
"""Few rows take so many times what as many of a full batch do."""

FEW = 64
"""Rows that are read however little time there is: with fewer the intervals are too wide to say anything."""


def collect(context: Context) -> dict[str, Any] | None:
    """Weights against those that were loaded, and features of validation rows before and after."""
    split = _split(context)
    if max(0.0, context.time_left()) < least(context):
        raise NoTimeLeft
    groups = changes(context.before.stack(), context.stack, context.job.learned)
    head_alone = _head_alone(context, split)
    most = ROWS if head_alone else int(min(ROWS, max(FEW, rows_in_time(context, _passes(context)))))
    rows = sampled(len(context.feeds[split]), most, context.recipe.seed)
    was, now = (_outputs if head_alone else _geometries)(context, split, rows)
    for group in groups:
        name = group["name"]
        figure = cka(was[name], now[name]) if name in was and name in now else None
        group["cka_rows"] = 0 if figure is None else len(rows)
        if head_alone and group["kind"] == "own" and group["unchanged"]:
            figure = {"value": 1.0, "low": 1.0, "high": 1.0}  # the same weights, above the same ones
        group["cka"] = None if figure is None else figure["value"]
        group["cka_low"], group["cka_high"] = (None, None) if figure is None else (figure["low"], figure["high"])
    return {"split": split, "rows": len(rows), "groups": groups}


def least(context: Context) -> float:
    """Seconds for the fewest rows that say something; weights are compared in less than they are loaded in."""
    split = _split(context)
    loads = 0 if "before" in vars(context) else 2 if context.pretrained.additions else 1  # additions are put in anew
    loading = size(context) * (COMPARING + loads * LOADING)
    if _head_alone(context, split):
        return loading
    return loading + _passes(context) * min(FEW, len(context.feeds[split])) * seconds_of_a_row(context)


def _passes(context: Context) -> float:
    """What reading rows before and after training takes, in readings of as many rows of a split."""
    return 2 * SLOWER[context.manifest.modality]


def _split(context: Context) -> str:
    return "validation" if "validation" in context.feeds else context.judged or "train"


def _head_alone(context: Context, split: str) -> bool:
    """Whether what enters the head is the same before and after, and there."""
    return only_the_head_learned(context) and split in context.kept


def changes(before: LayerStack, after: LayerStack, learned: Iterable[str]) -> list[dict[str, Any]]:
    """What happened to the weights of each group, lowest first; the two stacks have the same groups."""
    return [_change(before, after, group, group.name in set(learned)) for group in after.groups]


def _change(before: LayerStack, after: LayerStack, group: LayerGroup, learned: bool) -> dict[str, Any]:
    old = before.group(group.name)
    weights = [dict(stack.parameters(each)) for stack, each in ((before, old), (after, group))]
    buffers = [dict(stack.buffers(each)) for stack, each in ((before, old), (after, group))]
    kind = "head" if group is after.groups[-1] else "addition" if group.beside else "own"
    return {
        "name": group.name,
        "kind": kind,
        "learned": learned,
        "parameters": after.size(group),
        "unchanged": all(
            torch.equal(was[name].detach().cpu(), now[name].detach().cpu())
            for was, now in (weights, buffers)
            for name in now
        ),
        "relative_change": relative_change(*weights),
        "buffers_change": relative_change(*buffers),
    }


def relative_change(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """‖after - before‖ / ‖before‖ over all tensors of numbers together; None without any, or where all were zero."""
    moved, size = 0.0, 0.0
    for name, now in after.items():
        was: Tensor = before[name].detach().cpu()
        if not was.is_floating_point():
            continue
        moved += _squares(now.detach().cpu().float() - was.float())
        size += _squares(was)
    return math.sqrt(moved / size) if size else None


def _squares(values: Tensor) -> float:
    """The sum of squares, as exact as in float64."""
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def _geometries(context: Context, split: str, rows: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What leaves each group before and after training."""
    inputs = [context.feeds[split].examples.inputs[row] for row in rows]
    known = not only_the_head_learned(context) and not context.pretrained.additions
    working = load_before(context)[1] if known else computing(context, context.before)
    was = group_features(context.before, working, inputs, context.job.evaluation_batch_size)
    return was, _features(context, context.pretrained, inputs)


def _outputs(context: Context, split: str, rows: Sequence[int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What leaves the head before and after training, of what enters it in both cases."""
    head = next(module for module in context.before.module.modules() if isinstance(module, Head)).eval()
    chosen, name = torch.tensor(rows), context.stack.names[-1]
    with torch.inference_mode():
        was = head(context.features(split)[chosen].to(head.weight.device)).cpu()
    return {name: was}, {name: context.outputs(split)[chosen]}


def _features(context: Context, pretrained: Pretrained, inputs: Sequence[Input]) -> dict[str, Tensor]:
    return group_features(pretrained, computing(context, pretrained), inputs, context.job.evaluation_batch_size)


EVIDENCE = Evidence(
    card=Card(
        what="for each layer group how far its weights moved, and how much of its features' geometry is still there",
        when="always; rows of validation show the features",
        cost=f"two passes over {ROWS} rows, or {FEW} where time is short; none where the head alone learned; the "
        "pre-trained model is loaded anew",
        evidence="lower layers usually move less and keep their geometry, upper ones are made anew; a group that moved "
        "far with its features kept has redundant weights. CKA is blind to directions of little variance",
        source="Kornblith et al. 2019, arXiv:1905.00414 (linear CKA); Neyshabur, Sedghi & Zhang 2020, arXiv:2008.11687",
    ),
    collect=collect,
    order=40,
    costly=True,
    least=least,
)
