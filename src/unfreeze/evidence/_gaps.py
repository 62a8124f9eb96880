"""How far groups lie apart, how sure that is, and how often chance alone would put them as far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfreeze.evidence._measures import MEASURES, MOST_CELLS, Figures, Rows
from unfreeze.evidence.per_class import wilson
from unfreeze.tasks._bootstrap import BIASED, unbiased

Array = NDArray[Any]

SMALL = 30
"""Rows below which a group's figures are shown but not compared."""

FEW = 10
"""Positives or negatives that a rate needs to be compared."""

LARGEST = 2000
"""Rows of a group that a resample draws at most; deviations are then scaled by sqrt(drawn / rows) (m-out-of-n
bootstrap, Bickel, Götze and van Zwet 1997)."""

TOGETHER = 50_000
MOST_SUMS = 3_000_000
"""Rows, and sums, of the samples that are looked at together."""

PERMUTATIONS = 999
MANY = 20_000
FEWER = 199


def resamples(groups: Array, count: int, number: int, seed: int, parts: int) -> Iterator[tuple[Array, Array, int]]:
    """Bootstrap samples of each group by itself, some at a time.

    Yields
    ------
    cells, rows : arrays of int
        The rows that were drawn, and of each the cell: sample times `count` plus group.
    samples : int
    """
    draw = np.random.default_rng(seed)
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=count)
    starts = np.cumsum(sizes) - sizes
    slots = np.repeat(np.arange(count), np.minimum(sizes, LARGEST))
    for together in _portions(number, len(slots), count * parts):
        chosen = (draw.random((together, len(slots))) * sizes[slots]).astype(np.intp)
        cells = np.arange(together)[:, None] * count + slots
        yield cells.ravel(), order[starts[slots] + chosen].ravel(), together


def permutations(groups: Array, count: int, number: int, seed: int, parts: int) -> Iterator[tuple[Array, Array, int]]:
    """The groups dealt out to the rows at random, some times at once; as `resamples`."""
    draw = np.random.default_rng(seed)
    for together in _portions(number, len(groups), count * parts):
        dealt = draw.permuted(np.tile(groups, (together, 1)), axis=1)
        cells = np.arange(together)[:, None] * count + dealt
        yield cells.ravel(), np.tile(np.arange(len(groups)), together), together


def _portions(number: int, rows: int, cells: int) -> Iterator[int]:
    """How many samples are looked at together: as many as make a large sum, and no larger."""
    most = max(1, min(TOGETHER // max(1, rows), MOST_SUMS // max(1, cells)))
    for start in range(0, number, most):
        yield min(most, number - start)


def drawn(rows: Rows, groups: Array, count: int, number: int, seed: int) -> Figures:
    """Every figure of each group in so many bootstrap samples; arrays of shape (samples, groups)."""
    if not number:
        return {}
    found = [
        rows(cells, together * count, picked)
        for cells, picked, together in resamples(groups, count, number, seed, rows.parts.shape[1])
    ]
    draws = {name: np.concatenate([one[name] for one in found]).reshape(-1, count) for name in found[0]}
    estimate = rows(groups, count)
    if rows.beyond is not None:
        fewer = min(number, MOST_CELLS // max(1, rows.parts.shape[0] * rows.parts.shape[1] * count))
        others = [rows.others(groups, count, weights) for weights in _weights(groups, count, fewer, seed)]
        draws |= {name: np.stack([one[name] for one in others]) for name in (others[0] if others else {})}
        estimate |= rows.others(groups, count)
    shrink = np.sqrt(np.minimum(1.0, LARGEST / np.maximum(1, np.bincount(groups, minlength=count))))
    return {name: estimate[name] + (values - estimate[name]) * shrink for name, values in draws.items()}


def _weights(groups: Array, count: int, number: int, seed: int) -> Iterator[Array]:
    """How often each row was drawn, in one sample after the other."""
    for cells, picked, together in resamples(groups, count, number, seed, 1):
        for sample in range(together):
            yield np.bincount(picked[cells // count == sample], minlength=len(groups))


def figure(value: Any, draws: Array | None) -> dict[str, float | None]:
    """A value and its 95 % percentile interval, as the report reads it."""
    finite = draws[np.isfinite(draws)] if draws is not None else np.zeros(0)
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) > 1 else (np.nan, np.nan)
    return {name: _plain(each) for name, each in (("value", value), ("low", low), ("high", high))}


def _plain(value: Any) -> float | None:
    number = float(value)
    return number if np.isfinite(number) else None


def spread(values: Array, usable: Array) -> Array:
    """Largest minus smallest over the groups that are compared; values of shape (…, groups), nan for fewer than two."""
    among = np.where(usable & np.isfinite(values), values, np.nan)
    there = np.isfinite(among).sum(axis=-1) >= 2
    low = np.where(np.isfinite(among), among, np.inf).min(axis=-1, initial=np.inf)
    high = np.where(np.isfinite(among), among, -np.inf).max(axis=-1, initial=-np.inf)
    with np.errstate(invalid="ignore"):
        found: Array = np.where(there, high - low, np.nan)
    return found


def compared(rows: Rows, groups: Array, count: int) -> dict[str, Array]:
    """For each figure which groups are large enough to be compared; bool arrays of shape (groups,)."""
    sizes = np.bincount(groups, minlength=count)
    support = rows.support(rows.sums(groups, count))
    large = sizes >= SMALL
    return {name: large & (support[name] >= FEW) if name in support else large for name in MEASURES}


@dataclass(frozen=True)
class Told:
    """Every figure of each group, with what its interval comes from.

    Parameters
    ----------
    names : sequence of str
        The groups.
    estimate : dict of arrays of shape (groups,)
    draws : dict of arrays of shape (samples, groups)
        Empty without resamples.
    shares : dict of arrays of shape (groups, 3)
        For figures that are shares of rows: value and ends of Wilson's interval, which stays honest where all rows of
        a small group are right, and a bootstrap sees no doubt.
    usable : dict of bool arrays of shape (groups,)
        Which groups are large enough to be compared.
    """

    names: Sequence[str]
    estimate: Figures
    draws: Figures
    shares: Figures
    usable: Mapping[str, Array]

    def figure(self, name: str, place: int) -> dict[str, float | None]:
        """A group's figure with its 95 % interval."""
        if name in self.shares:
            value, low, high = self.shares[name][place]
            return {"value": _plain(value), "low": _plain(low), "high": _plain(high)}
        return figure(self.estimate[name][place], self._drawn(name, place))

    def _drawn(self, name: str, place: int) -> Array | None:
        """A group's draws of a figure, those of a calibration error less what noise adds to it."""
        if name not in self.draws:
            return None
        values = self.draws[name][:, place]
        return unbiased(values, float(self.estimate[name][place])) if name in BIASED else values

    def difference(self, name: str, one: int, other: int) -> dict[str, float | None]:
        """How much more the first group has than the second, with its 95 % interval.

        Of shares it follows from their own intervals (Newcombe 1998, Statistics in Medicine 17:873),
        of other figures from the bootstrap.
        """
        value = self.estimate[name][one] - self.estimate[name][other]
        if name in self.shares:
            (a, low_a, high_a), (b, low_b, high_b) = self.shares[name][one], self.shares[name][other]
            below, above = np.hypot(a - low_a, high_b - b), np.hypot(high_a - a, b - low_b)
            return {"value": _plain(value), "low": _plain(value - below), "high": _plain(value + above)}
        mine, others = self._drawn(name, one), self._drawn(name, other)
        return figure(value, None if mine is None or others is None else mine - others)

    def gap(self, name: str) -> dict[str, Any] | None:
        """Between which groups a figure differs most, by how much, and their quotient; None for fewer than two groups.

        The two are those that lie farthest apart here, so that the gap is somewhat too large where many groups are
        compared; the permutation test takes account of that.
        """
        measure, values = MEASURES[name], self.estimate[name]
        among = np.where(self.usable[name], values, np.nan)
        if np.isfinite(among).sum() < 2:
            return None
        high, low = int(np.nanargmax(among)), int(np.nanargmin(among))
        found: dict[str, Any] = {
            "highest": self.names[high],
            "lowest": self.names[low],
            "difference": self.difference(name, high, low),
        }
        if measure.signed:
            found["worst"] = self.names[int(np.nanargmax(np.abs(among)))]
        elif measure.better:
            found["worst"] = self.names[low if measure.better > 0 else high]
        if measure.ratio and values[high] > 0:
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = self.draws[name][:, low] / self.draws[name][:, high] if name in self.draws else None
            found["ratio"] = figure(values[low] / values[high], ratio)
        return found


def told(rows: Rows, names: Sequence[str], groups: Array, resamples: int, seed: int) -> Told:
    """The figures of each group."""
    count = len(names)
    sums = rows.sums(groups, count)
    draws = drawn(rows, groups, count, resamples, seed)
    support = rows.support(sums)
    estimate = {**rows(groups, count), **rows.others(groups, count)}
    shares = {name: wilson(estimate[name] * support[name], support[name]) for name in rows.shares} if resamples else {}
    return Told(names, estimate, draws, shares, compared(rows, groups, count))


def chance(
    rows: Rows, groups: Array, count: int, names: list[str], usable: Mapping[str, Array], seed: int
) -> dict[str, float]:
    """For each figure how often groups drawn at random, of the same sizes, lie as far apart: a permutation test's p."""
    observed = rows(groups, count)
    wide = {name: float(spread(observed[name], usable[name])) for name in names if name in observed}
    wide = {name: value for name, value in wide.items() if np.isfinite(value)}
    if not wide:
        return {}
    number = PERMUTATIONS if len(groups) <= MANY else FEWER
    as_far = dict.fromkeys(wide, 0)
    for cells, picked, together in permutations(groups, count, number, seed, rows.parts.shape[1]):
        shuffled = rows(cells, together * count, picked)
        for name, value in wide.items():
            apart = spread(shuffled[name].reshape(together, count), usable[name])
            as_far[name] += int((apart >= value - 1e-12).sum())
    return {name: (times + 1) / (number + 1) for name, times in as_far.items()}


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for their number, in the same order (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return [float(value) for value in adjusted]
