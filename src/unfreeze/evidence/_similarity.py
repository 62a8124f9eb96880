"""How alike two sets of features of the same rows are: linear CKA, cosine, and neighbours in common."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.tasks._bootstrap import bootstrap

Array: TypeAlias = NDArray[np.float64]
Figure: TypeAlias = dict[str, float | None]
"""`value`, `low` and `high` of its 95 % interval."""

LEAST = 8
"""Rows below which CKA says nothing."""


def cka(one: Tensor, other: Tensor) -> Figure | None:
    """Linear CKA of two matrices of features, without the bias that few rows and many features give it.

    1 for features that are the same up to rotation and scale, 0 for independent ones; unbiased, so that it may come
    out a little below 0. None with fewer than 8 rows or where features do not vary.

    Parameters
    ----------
    one, other : Tensor of shape (rows, width); the widths may differ

    Sources: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, arXiv:1905.00414; the
    unbiased estimate of HSIC: Song et al. 2012, Feature Selection via Dependence Maximization, JMLR 13, and Nguyen et
    al. 2021, arXiv:2010.15327. The interval is the jackknife's (leaving out each row), since rows drawn twice would
    stand beside themselves, which the estimate has to leave out.
    """
    rows = len(one)
    if torch.equal(one, other) and _varies(one):
        return {"value": 1.0, "low": 1.0, "high": 1.0}
    if rows < LEAST:
        return None
    grams = [_gram(features) for features in (one, other)]
    both, first, second = (_hsic(*pair) for pair in (grams, (grams[0],) * 2, (grams[1],) * 2))
    if not (_varies(one) and _varies(other)) or min(first.min(), second.min()) <= 0:
        return None
    values = both / np.sqrt(first * second)
    value, without = float(values[0]), values[1:]
    error = float(np.sqrt((rows - 1) / rows * np.square(without - without.mean()).sum()))
    return {"value": value, "low": value - 1.96 * error, "high": min(1.0, value + 1.96 * error)}


def _varies(features: Tensor) -> bool:
    return bool((features != features[0]).any())


def _gram(features: Tensor) -> Array:
    """Inner products of centred rows, of mean squared length 1, without those of a row with itself."""
    centred = features.double().numpy() - features.double().numpy().mean(axis=0)
    centred /= max(np.sqrt(np.square(centred).sum(axis=1).mean()), np.finfo(np.float64).tiny)
    gram: Array = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(one: Array, other: Array) -> Array:
    """Unbiased HSIC of all rows and then without each of them, up to a factor that is the same for every pair."""
    rows = len(one)
    products, sums, others = (one * other).sum(axis=1), one.sum(axis=1), other.sum(axis=1)
    total, both = products.sum(), (sums * others).sum()
    without = both - sums * others - one @ others - other @ sums + products
    whole = _combined(total, sums.sum(), others.sum(), both, rows)
    rest = _combined(total - 2 * products, sums.sum() - 2 * sums, others.sum() - 2 * others, without, rows - 1)
    return np.concatenate([[whole], np.atleast_1d(rest)])


def _combined(products: Array, one: Array, other: Array, both: Array, rows: int) -> Array:
    found: Array = products + one * other / ((rows - 1) * (rows - 2)) - 2 * both / (rows - 2)
    return found


def cosines(one: Tensor, other: Tensor) -> Array:
    """The cosine between each row's features in the two sets, of shape (rows,)."""
    return torch.nn.functional.cosine_similarity(one.double(), other.double()).numpy()  # type: ignore[no-any-return]


def shared_neighbours(one: Tensor, other: Tensor, k: int) -> Array:
    """Of each row's k nearest neighbours in the first set the share that it has in the second too, of shape (rows,).

    Nearness is the cosine of features whose mean over the rows was taken off.
    """
    near = [_neighbours(features, k) for features in (one, other)]
    rows = len(one)
    member = np.zeros((rows, rows), dtype=bool)
    member[np.arange(rows)[:, None], near[0]] = True
    shared: Array = member[np.arange(rows)[:, None], near[1]].mean(axis=1)
    return shared


def _neighbours(features: Tensor, k: int) -> NDArray[np.int64]:
    centred = torch.nn.functional.normalize((features - features.mean(dim=0)).double(), dim=1)
    likeness = centred @ centred.T
    likeness.fill_diagonal_(-torch.inf)
    return likeness.topk(k, dim=1).indices.numpy()  # type: ignore[no-any-return]


def mean_of(values: Array, resamples: int, seed: int) -> Figure:
    """A mean over rows with its bootstrap interval."""
    found = bootstrap(lambda drawn: {"mean": float(values[drawn].mean())}, len(values), resamples, seed)
    low, high = found.get("mean", (None, None))
    return {"value": float(values.mean()), "low": low, "high": high}
