"""Where the network looked, for a handful of rows: the worst mistakes, and others for comparison.

The JSON: {"modality", "split", "method" ("hirescam" or "occlusion"), "layer", "grid", "randomised" (the layer groups
whose weights were shuffled for the check), "check": {"value", "low", "high", "rows"} (the mean rank correlation of maps
with those of the shuffled network), "examples": [{"origin", "target", "prediction", "mistake", and "picture" (a JPEG in
base64: the input, and the same under its map) or "texts": [[[piece, effect], …], …] and "cut" (whether a text goes
on)}]}. An effect is how much the prediction's score falls when the piece is left out: the log-probability of a class,
the logit of one of several labels, the value of a number.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfreeze.evaluation.reading import exact, outputs_of
from unfreeze.evidence._before import seconds_of_a_row
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.evidence._features import sampled
from unfreeze.evidence._saliency import PIECES, activation_map, randomised, rank_correlation, top_groups, without
from unfreeze.evidence._similarity import Figure, mean_of
from unfreeze.registry import Card
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import Working
from unfreeze.train.feed import Feed, to_device

MISTAKES, SHOWN, CHECKED = 4, 8, 24
"""Worst mistakes that are shown, rows that are shown, and images that the check compares."""

AT_LEAST = 2
"""Rows that are looked at even where time is up."""

SIDE = 112
LEAST = 5
"""Pieces that a text needs for the check."""

PASSES = {"image": 20, "text": 100}
"""Rows, about, that could be read in the time of the least number of maps: a text is read with each of many parts left
out, by exact arithmetic."""

RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)
"""From not at all to most: light is more, to every kind of eye (after matplotlib's viridis)."""


def collect(context: Context) -> dict[str, Any] | None:
    """Maps of some rows of the split that is reported on, and how much they depend on what was learned."""
    split = context.judged
    if not split:
        return None
    if max(0.0, context.time_left()) < least(context):
        raise NoTimeLeft
    rows, mistakes = chosen(context, split)
    look = _pictures if context.manifest.modality == "image" else _texts
    training = context.pretrained.module.training
    context.pretrained.module.eval()
    try:
        found = look(context, context.feeds[split], rows)
    finally:
        context.pretrained.module.train(training)
    if found is None:
        return None
    for row, example in zip(rows, found["examples"], strict=False):
        example.update(_about(context, split, row), mistake=row in mistakes)
    return {"modality": context.manifest.modality, "split": split, **found}


def least(context: Context) -> float:
    """Seconds for the fewest maps."""
    return PASSES[context.manifest.modality] * seconds_of_a_row(context) if context.judged else 0.0


def chosen(context: Context, split: str) -> tuple[list[int], set[int]]:
    """Rows to look at, the worst mistakes first and then others by seed; and which of them are mistakes."""
    examples = context.feeds[split].examples
    place: dict[str, int] = {}
    for row, origin in enumerate(examples.origin):
        place.setdefault(str(origin), row)
    told = context.found.get("mistakes", {})
    worst = [place[each["origin"]] for each in told.get("examples", ()) if each.get("origin") in place]
    worst = list(dict.fromkeys(worst))[:MISTAKES] if told.get("split") == split else []
    others = [row for row in _shuffled(len(examples), context.recipe.seed) if row not in worst]
    return [*worst, *others][:CHECKED], set(worst)


def _shuffled(rows: int, seed: int) -> list[int]:
    some = sampled(rows, 2 * CHECKED, seed)
    order: list[int] = np.random.default_rng(seed).permutation(len(some)).tolist()
    return [some[place] for place in order]


def _about(context: Context, split: str, row: int) -> dict[str, Any]:
    examples = context.feeds[split].examples
    target = examples.targets[row]
    decoded = context.task.decode(context.outputs(split)[row : row + 1], context.manifest)[0]
    return {
        "origin": str(examples.origin[row]),
        "target": list(target) if isinstance(target, tuple) else target,
        "prediction": decoded["prediction"],
    }


# ------------------------------------------------------------------------------------------------ images


def _pictures(context: Context, feed: Feed, rows: Sequence[int]) -> dict[str, Any] | None:
    stack, outputs = context.stack, context.outputs(context.judged)
    device = next(stack.module.parameters()).device
    layer: str | None = None
    shuffled: LayerStack | None = None
    examples: list[dict[str, Any]] = []
    likeness: list[float] = []
    grid: list[int] = []
    for row in rows:
        if len(examples) >= AT_LEAST and context.time_left() <= 0:
            break
        batch = to_device(feed.batch([row]), device)["pixel_values"]
        output = int(outputs[row].argmax())
        seen = activation_map(stack, batch, output, layer)
        if seen is None:
            return None
        if shuffled is None:
            layer, grid = seen[0], list(seen[1].shape)
            shuffled = randomised(stack, top_groups(stack, layer), context.recipe.seed)
        other = activation_map(shuffled, batch, output, layer)
        alike = None if other is None else rank_correlation(seen[1], other[1])
        likeness += [] if alike is None else [alike]
        if len(examples) < SHOWN:
            pixels = feed.sample(row)["pixel_values"].numpy()
            examples.append({"picture": under_its_map(pixels, seen[1])})
    return {
        "method": "hirescam",
        "layer": layer,
        "grid": grid,
        "randomised": top_groups(stack, layer),
        "check": _mean(likeness, context),
        "examples": examples,
    }


def under_its_map(pixels: NDArray[np.uint8], places: NDArray[Any], side: int = SIDE) -> str:
    """An image beside itself under a map of it, as a JPEG in base64.

    Parameters
    ----------
    pixels : bytes of shape (channels, size, size)
    places : array of shape (height, width)
        The largest is shown lightest, 0 and less darkest.
    """
    picture = _resized(_coloured(pixels), side)
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    heat = Image.fromarray((places.clip(0) / max(float(places.max()), 1e-12)).astype(np.float32))
    share = np.clip(np.asarray(heat.resize((side, side), Image.Resampling.BILINEAR), np.float64), 0, 1) * (
        len(RAMP) - 1
    )
    low = np.minimum(share.astype(np.intp), len(RAMP) - 2)
    colour = RAMP[low] + (RAMP[low + 1] - RAMP[low]) * (share - low)[..., None]
    both = np.concatenate(
        [np.asarray(picture, np.float64), np.full((side, 6, 3), 255.0), 0.45 * grey + 0.55 * colour], 1
    )
    file = io.BytesIO()
    Image.fromarray(both.round().astype(np.uint8)).save(file, "JPEG", quality=72, optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _coloured(pixels: NDArray[np.uint8]) -> Image.Image:
    """The first three channels, or the only one."""
    shown = pixels[:3] if len(pixels) >= 3 else np.repeat(pixels[:1], 3, axis=0)
    return Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))


def _resized(picture: Image.Image, side: int) -> Image.Image:
    how = Image.Resampling.NEAREST if picture.width < side else Image.Resampling.LANCZOS
    return picture.resize((side, side), how)


# ------------------------------------------------------------------------------------------------- texts


def _texts(context: Context, feed: Feed, rows: Sequence[int]) -> dict[str, Any] | None:
    top = top_groups(context.stack)
    shuffled = randomised(context.stack, top, context.recipe.seed)
    known = context.outputs(context.judged)
    examples: list[dict[str, Any]] = []
    likeness: list[float] = []
    for row in rows[:SHOWN]:
        if len(examples) >= AT_LEAST and context.time_left() <= 0:
            break
        item = feed.examples.inputs[row]
        assert isinstance(item, (str, tuple)), "a text model reads texts"
        texts, output = item if isinstance(item, tuple) else (item,), int(known[row].argmax())
        parts, left_out = without(item)
        effects = _effects(context, exact(context.pretrained), [item, *left_out], output)
        if len(parts) >= LEAST:
            other = _effects(context, Working(shuffled, shuffled), [item, *left_out], output)
            alike = rank_correlation(effects, other)
            likeness += [] if alike is None else [alike]
        shown = [
            [
                (start, end, float(effect))
                for (which, start, end), effect in zip(parts, effects, strict=True)
                if which == at
            ]
            for at in range(len(texts))
        ]
        examples.append(
            {
                "texts": [_with_gaps(text, spans) for text, spans in zip(texts, shown, strict=True)],
                "cut": any(spans and text[spans[-1][1] :].strip() for text, spans in zip(texts, shown, strict=True)),
            }
        )
    return {"method": "occlusion", "randomised": top, "check": _mean(likeness, context), "examples": examples}


def _effects(context: Context, working: Working, items: Sequence[Any], output: int) -> NDArray[np.float64]:
    """How much the score of an output falls from the first input to each of the others."""
    outputs = outputs_of(context.pretrained, working, items, context.job.evaluation_batch_size)
    if context.manifest.task == "classification":
        outputs = outputs.log_softmax(dim=1)
    elif context.manifest.task == "regression":
        outputs = outputs * context.manifest.target_scale
    scores = outputs[:, output].double().numpy()
    return scores[0] - scores[1:]  # type: ignore[no-any-return]


def _with_gaps(text: str, spans: Sequence[tuple[int, int, float]]) -> list[list[Any]]:
    """The pieces with what stands between them, so that they add up to the text as far as it was looked at."""
    ends = [*(start for start, _, _ in spans[1:]), *(end for _, end, _ in spans[-1:])]
    return [[text[start:until], round(effect, 5)] for (start, _, effect), until in zip(spans, ends, strict=True)]


def _mean(likeness: Sequence[float], context: Context) -> dict[str, Any] | None:
    """The mean over rows; None without any that can be compared."""
    if not likeness:
        return None
    figure: Figure = mean_of(np.array(likeness), context.recipe.evaluation.bootstrap, context.recipe.seed)
    return {**figure, "rows": len(likeness)}


EVIDENCE = Evidence(
    card=Card(
        what="which places of a picture, or which words of a text, spoke for the prediction",
        when="pictures and texts; the worst mistakes first",
        cost=f"a pass forward and back for each of {CHECKED} pictures, or {PIECES} passes for each of {SHOWN} texts; "
        "as much again for the check",
        evidence="a map shows where, not what or why, and looks convincing whether or not it is true to the network: "
        "the check tells how much of it stays when the weights from its layer up are shuffled",
        source="pictures: Draelos & Carin 2020, arXiv:2011.08891, and Selvaraju et al. 2017, arXiv:1610.02391; words: "
        "Li, Monroe & Jurafsky 2016, arXiv:1612.08220; the check: Adebayo et al. 2018, Sanity Checks for Saliency "
        "Maps, arXiv:1810.03292",
    ),
    collect=collect,
    order=60,
    costly=True,
    least=least,
)
