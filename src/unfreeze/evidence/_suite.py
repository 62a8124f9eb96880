"""Test rows corrupted: as many rows, severities and corruptions as time allows, given up in this order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.data.corruptions import CORRUPTIONS, corruptions_of
from unfreeze.data.corruptions._corruption import SEVERITIES
from unfreeze.evaluation.out_of_distribution import Reference, separation
from unfreeze.evidence._before import rows_in_time
from unfreeze.evidence._context import Context
from unfreeze.evidence._paired import paired
from unfreeze.evidence._reading import SHARE, Corrupted, affordable, in_order, outputs_and_features
from unfreeze.progress import counted
from unfreeze.train.feed import Feed
from unfreeze.train.order import generator

FEWEST_ROWS = 100
"""Of which a cell of the suite is made, where there are so many."""

MOST_ROWS = 500

STEPS = (SEVERITIES, (1, 3, 5), (3,))
"""Severities that are read, as time gets short."""

FIRST = (3, 5, 1, 4, 2)
"""The order in which severities are read, so that a whole one is there when time runs out."""


@dataclass(frozen=True)
class Suite:
    """Corruptions and severities to be read, each with the same first rows of a seeded order."""

    rows: int
    severities: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Corruption and severity of each cell, in the order in which they are read."""
        return [(name, severity) for severity in FIRST if severity in self.severities for name in self.names]


def plan_suite(affordable: float, available: int, names: Sequence[str]) -> Suite:
    """The largest suite that so many readings of a row allow.

    Parameters
    ----------
    affordable : float
        Rows that can be read; infinite where time does not matter.
    available : int
        Rows that there are.
    names : sequence of str
        Corruptions in the order in which they are to be kept.
    """
    least = min(FEWEST_ROWS, available)
    if not names or least < 1:
        return Suite(0, (), ())
    for severities in STEPS:
        each = affordable / (len(names) * len(severities))
        if each >= least:
            rows = min(MOST_ROWS, available)
            return Suite(rows if math.isinf(each) else min(rows, int(each)), severities, tuple(names))
    count = int(affordable // least)
    return Suite(least, (3,), tuple(names[:count])) if count else Suite(0, (), ())


def left_out(suite: Suite, available: int, names: Sequence[str], read: int) -> list[str]:
    """In words, what of the whole suite was not read.

    Parameters
    ----------
    read : int
        Cells that were read.
    """
    said = []
    if suite.rows < available:
        said.append(f"{counted(available - suite.rows, 'row')} of {available:,}")
    missing = [str(severity) for severity in SEVERITIES if severity not in suite.severities]
    if missing:
        said.append(f"severities {', '.join(missing)}")
    skipped = [name for name in names if name not in suite.names]
    if skipped:
        said.append(", ".join(skipped))
    if read < len(suite.cells):
        said.append(f"{len(suite.cells) - read} of {len(suite.cells)} planned cells, since reading took longer")
    return said


@dataclass(frozen=True)
class Cell:
    """One corruption at one severity: outputs (rows, outputs), distances (rows,), and the share of rows it changed."""

    name: str
    severity: int
    changed: float
    outputs: Tensor
    distances: NDArray[np.float64] | None


def corrupted_suite(context: Context, reference: Reference | None) -> dict[str, Any]:
    """The corrupted rows of the judged split beside the same rows as they are."""
    feed, seed = context.feeds[context.judged], context.recipe.seed
    known = list(corruptions_of(context.manifest.modality))
    names = [known[place] for place in generator(seed, 8).permutation(len(known))]
    order = in_order(len(feed), seed)
    # Rows of all kinds of corruption, to see how long one takes.
    tried = Corrupted(
        context.pretrained.preprocess, feed, order, [names[place % len(names)] for place in range(len(order))], 3, seed
    )
    # Where there is time for nearly none it is not spent on that.
    hurried = rows_in_time(context, 1 / SHARE) < min(FEWEST_ROWS, len(feed))
    can = 0.0 if hurried else affordable(context, tried.places, SHARE, tried.model(context.pretrained))
    suite = plan_suite(can, len(feed), names)
    rows, ends = order[: suite.rows], context.time_left() * (1 - SHARE)
    cells: list[Cell] = []
    for name, severity in suite.cells:
        if cells and context.time_left() < ends:
            break
        context.at_work_on(f"corrupted rows, {len(cells) + 1} of {len(suite.cells)}: {name.replace('-', ' ')}")
        cells.append(_cell(context, reference, feed, rows, name, severity))
    said = {"rows": suite.rows, "of": len(feed), "left_out": left_out(suite, len(feed), names, len(cells))}
    return {**said, **(_figures(context, reference, rows, cells) if cells else {"cells": []})}


def _cell(context: Context, reference: Reference | None, feed: Feed, rows: list[int], name: str, severity: int) -> Cell:
    seed = context.recipe.seed
    reader = Corrupted(context.pretrained.preprocess, feed, rows, [name] * len(rows), severity, seed)
    outputs, features = outputs_and_features(context, reader.places, reader.model(context.pretrained))
    distances = None if reference is None else reference.distance(features)
    return Cell(name, severity, reader.changed / len(rows), outputs, distances)


def _figures(context: Context, reference: Reference | None, rows: list[int], cells: Sequence[Cell]) -> dict[str, Any]:
    """The metric of every cell and of the same rows as they are; means with paired intervals."""
    clean, targets = context.outputs(context.judged)[rows], context.targets(context.judged)[rows]
    found = paired(context, [clean, *(cell.outputs for cell in cells)], targets)
    of = {name: [place for place, cell in enumerate(cells, 1) if cell.name == name] for name in _names(cells)}
    everything = range(1, len(cells) + 1)
    return {
        "severities": sorted({cell.severity for cell in cells}),
        "draws": len(found.drawn),
        "clean": found.mean([0]),
        "mean": found.mean(everything),
        "difference": found.mean(everything, against=0),
        "corruptions": [
            {
                "name": name,
                "group": CORRUPTIONS.get(name).group,
                "value": found.mean(places),
                "difference": found.mean(places, against=0),
            }
            for name, places in of.items()
        ],
        "cells": [
            {
                "corruption": cell.name,
                "severity": cell.severity,
                "changed": cell.changed,
                **found.mean([place]),
            }
            for place, cell in enumerate(cells, 1)
        ],
        "distance": _by_severity(usual(context, reference), cells, len(rows)) if reference is not None else [],
    }


def _names(cells: Sequence[Cell]) -> list[str]:
    return sorted({cell.name for cell in cells})


def _by_severity(within: NDArray[np.float64], cells: Sequence[Cell], rows: int) -> list[dict[str, Any]]:
    """How well corrupted rows are told from usual ones, all corruptions of a severity together.

    A row stands there once for each corruption, so that intervals are those of so many rows and no more.
    """
    found = []
    for severity in sorted({cell.severity for cell in cells}):
        there = [cell.distances for cell in cells if cell.severity == severity and cell.distances is not None]
        told = separation(within, np.concatenate(there), rows)
        found.append({"severity": severity, "auroc": told["value"], "low": told["low"], "high": told["high"]})
    return found


def usual(context: Context, reference: Reference) -> NDArray[np.float64]:
    """Distances of rows within the distribution: of the test, else of the validation rows as they were fitted."""
    if context.judged == "test":
        return reference.distance(context.features("test"))
    found: NDArray[np.float64] = reference.distances.double().numpy()
    return found
