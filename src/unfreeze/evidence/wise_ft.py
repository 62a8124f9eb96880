"""Evidence: the curve of WiSE-FT, from the weights before fine-tuning to those after it.

The mixture was chosen on validation when training was over. Here the same mixtures are told on test rows and on further
sets, where time allows; they take no part in the choice.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unfreeze.data.manifest import Input, Target
from unfreeze.data.prepare import labelled
from unfreeze.errors import UserError
from unfreeze.evaluation.reading import fast
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.evidence._paired import Paired, paired
from unfreeze.evidence._reading import affordable, in_order, names_of, outputs_and_features
from unfreeze.registry import Card
from unfreeze.tasks._bootstrap import SHARES, wilson_ends
from unfreeze.train.interpolation import Interpolation

SHARE = 0.4
"""Of the time that is left for evidence, what this takes."""

FEWEST, MOST = 50, 1000
"""Rows of the test and of each further set that every mixture reads; below the first it reads none."""


def collect(context: Context) -> dict[str, Any] | None:
    """The curve on validation, and where time allows on test rows and further sets."""
    hook = next((hook for hook in context.job.hooks if isinstance(hook, Interpolation)), None)
    if hook is None or hook.taken is None:
        return None
    metric = context.job.metric
    known = {alpha: figures.get(metric) for alpha, figures in hook.curve}
    alphas = sorted({0.0, hook.taken, 1.0, *known})
    sets = _sets(context)
    seconds = SHARE / (len(alphas) * max(1, len(sets)))
    told = [_told(context, hook, alphas, each, seconds) for each in sets]
    return {
        "metric": metric,
        "higher_is_better": context.task.higher_is_better(metric),
        "alpha": hook.taken,
        "fixed": hook.alpha is not None,
        "validated": context.job.validation is not None,
        "curve": [{"alpha": alpha, **_validated(context, metric, known.get(alpha))} for alpha in alphas],
        "sets": told,
    }


def _validated(context: Context, metric: str, value: float | None) -> dict[str, float | None]:
    """A figure of the choice, of which no row was kept; with its interval (Wilson 1927) where it is a share of rows."""
    told: dict[str, float | None] = {"validation": value, "low": None, "high": None}
    if value is not None and metric in SHARES and context.job.validation is not None:
        told["low"], told["high"] = wilson_ends(value, len(context.job.validation))
    return told


def _sets(context: Context) -> list[tuple[str, Sequence[Input], Sequence[Target]]]:
    """What the curve is told on: the test, and further sets that can be read."""
    found: list[tuple[str, Sequence[Input], Sequence[Target]]] = []
    if "test" in context.kept:
        examples = context.feeds["test"].examples
        found.append(("test", examples.inputs, examples.targets))
    sources = context.recipe.evaluation.shift
    for name, source in zip(names_of(sources), sources, strict=True):
        try:
            examples, _ = labelled(source, context.manifest, context.recipe.data)
        except UserError:
            continue  # said by the evidence on shift
        found.append((name, examples.inputs, examples.targets))
    return found


def _told(
    context: Context,
    hook: Interpolation,
    alphas: Sequence[float],
    given: tuple[str, Sequence[Input], Sequence[Target]],
    share: float,
) -> dict[str, Any]:
    """A set's figures along the line, and what the chosen mixture gains over fine-tuning alone."""
    name, inputs, targets = given
    order = in_order(len(inputs), context.recipe.seed)
    count = int(min(len(inputs), MOST, affordable(context, [inputs[row] for row in order], share)))
    said = {"name": name, "rows": count, "of": len(inputs)}
    if count < min(FEWEST, len(inputs)):
        return {**said, "rows": 0, "curve": []}
    chosen = order[:count]
    encoded = torch.stack([context.task.encode(targets[row], context.manifest) for row in chosen])
    outputs = [_outputs(context, hook, alpha, [inputs[row] for row in chosen]) for alpha in alphas]
    found: Paired = paired(context, outputs, encoded)
    taken, whole = alphas.index(hook.taken or 0.0), alphas.index(1.0)
    return {
        **said,
        "curve": [{"alpha": alpha, "value": found.mean([place])} for place, alpha in enumerate(alphas)],
        "gain": found.mean([taken], against=whole),
    }


def _outputs(context: Context, hook: Interpolation, alpha: float, inputs: Sequence[Input]) -> Tensor:
    """What a mixture gives for some inputs; the run's own model stays as it is."""
    module = copy.deepcopy(context.pretrained.module)
    places = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, tensor in hook.at(alpha).items():
            places[name].copy_(tensor)
    mixture = replace(context.pretrained, module=module.eval())
    working = fast(mixture, context.recipe.training.precision)
    return outputs_and_features(context, inputs, mixture, working)[0]


EVIDENCE = Evidence(
    Card(
        what="figures of every mixture of the weights before and after fine-tuning, on validation, test, further sets",
        when="the method is wise-ft",
        cost="passes over at most 1,000 rows of each set for every mixture, as time allows",
        evidence="in the source the curve bends: in between lie mixtures that are better than both ends under shift",
        source="Wortsman et al. 2022, arXiv:2109.01903",
    ),
    collect,
    order=55,
    timed=True,
)
