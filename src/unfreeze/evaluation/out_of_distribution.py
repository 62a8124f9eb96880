"""How far a row lies from the rows that a model was validated on: a Mahalanobis distance of what enters its head.

Lee et al. 2018, arXiv:1807.03888: a normal distribution for each class, of one shared covariance; a row's distance is
that to the nearest class. Here the distributions are those of validation rows. After fine-tuning, training rows crowd
around their classes as no new row does (Papyan et al. 2020, arXiv:2008.08186), so that distances from them would call
everything new. The covariance is that of probabilistic PCA (Tipping & Bishop 1999): the leading directions have
variances of their own and all others share one, which stays well conditioned where rows are fewer than dimensions, and
is small on disk.

What a person reads is a percentile: "further from the validation rows' classes than 99 % of validation rows". The
validation rows' own distances are from distributions that other validation rows were fitted to (five-fold), as a new
row's is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unfreeze.errors import RunError
from unfreeze.models._state import seeded
from unfreeze.models.head import Head

FILE = "out_of_distribution.safetensors"

Floats: TypeAlias = NDArray[np.float64]

DIRECTIONS = 128
"""Of the features that have a variance of their own, at most."""

ROWS_EACH = 4
"""Rows, beyond those that the classes' means take, that a direction with a variance of its own needs."""

FEWEST = 20
"""Validation rows below which there is no telling what is usual."""

FOLDS = 5
MOST_ROWS = 10_000
"""Rows that the distributions are fitted to: more change them little."""

QUANTILES = 1001
"""Distances of validation rows that are kept."""

AT_A_TIME = 4096


@dataclass(frozen=True)
class Reference:
    """Normal distributions of features, one for each class, and how far validation rows lie from them.

    Parameters
    ----------
    mean : Tensor of shape (width,)
        Of all rows; taken off before anything else.
    directions : Tensor of shape (width, directions)
        Orthonormal.
    deviations : Tensor of shape (directions,)
        Standard deviation along each, within the classes.
    rest : Tensor of shape ()
        Standard deviation along every other direction.
    centres : Tensor of shape (classes, width)
        Class means, whitened.
    distances : Tensor of shape (quantiles,)
        Of validation rows, sorted.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor
    rest: Tensor
    centres: Tensor
    distances: Tensor

    def distance(self, features: Tensor) -> Floats:
        """Mahalanobis distance to the nearest class of each row; `features` has the shape (rows, width)."""
        parts = [_nearest(self._whitened(part), self.centres) for part in features.float().split(AT_A_TIME)]
        found: Floats = torch.cat(parts).double().numpy() if parts else np.zeros(0)
        return found

    def percentile(self, features: Tensor) -> Floats:
        """Per cent of the validation rows that lie nearer than each row."""
        places = np.searchsorted(self.distances.double().numpy(), self.distance(features), side="left")
        found: Floats = 100.0 * places / max(1, len(self.distances))
        return found

    def write(self, folder: Path) -> None:
        """Keep it beside a saved model."""
        save_file({item.name: getattr(self, item.name).contiguous() for item in fields(self)}, folder / FILE)

    def _whitened(self, features: Tensor) -> Tensor:
        """Features whose distribution within each class is the same in all directions."""
        centred = features - self.mean
        along = centred @ self.directions
        return centred / self.rest + (along * (1 / self.deviations - 1 / self.rest)) @ self.directions.T


def read_reference(folder: Path) -> Reference | None:
    """What was kept beside a saved model; None where nothing was.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        return Reference(**load_file(path))
    except Exception as error:  # safetensors has an error of its own for each kind of damage
        raise RunError(f"'{path}' is damaged ({error}). Without it predictions come without a distance.") from None


def fit_reference(features: Tensor, classes: Tensor | None, seed: int = 0) -> Reference | None:
    """Distributions of some rows' features, and how far rows lie from those of others.

    Parameters
    ----------
    features : Tensor of shape (rows, width)
    classes : Tensor of shape (rows,), or None
        None: all rows are of one class.

    Returns
    -------
    Reference, or None
        None where there are too few rows, or their features do not differ.
    """
    chosen = np.random.default_rng(seed).permutation(len(features))[:MOST_ROWS]
    order = torch.from_numpy(chosen)
    features = features[order].float()
    classes = torch.zeros(len(features), dtype=torch.long) if classes is None else classes[order]
    if len(features) < FEWEST or not torch.isfinite(features).all() or not float(features.var(dim=0).sum()) > 0:
        return None
    fold = torch.arange(len(features)) % FOLDS
    distances = np.empty(len(features))
    for number in range(FOLDS):
        held = fold == number
        distances[held.numpy()] = _fit(features[~held], classes[~held]).distance(features[held])
    kept = np.quantile(distances, np.linspace(0, 1, min(QUANTILES, len(distances))))
    return replace(_fit(features, classes), distances=torch.from_numpy(kept))


def _fit(features: Tensor, classes: Tensor) -> Reference:
    rows, width = features.shape
    found, own = classes.unique(return_inverse=True)
    if rows - len(found) < FEWEST // 2:  # hardly a row beside the means: one class for all
        found, own = torch.zeros(1), torch.zeros(rows, dtype=torch.long)
    mean = features.mean(dim=0)
    centred = features - mean
    counts = torch.bincount(own, minlength=len(found)).unsqueeze(1)
    means = torch.zeros(len(found), width).index_add_(0, own, centred) / counts
    within = centred - means[own]
    spare = rows - len(found)
    count = max(0, min(DIRECTIONS, width, spare // ROWS_EACH))
    total = float(within.double().square().sum()) / spare
    with seeded(0):
        _, sizes, directions = torch.svd_lowrank(within, q=min(width, rows, count + 8), niter=4)
    variances = (sizes.double() ** 2 / spare)[:count]
    left = max(total - float(variances.sum()), 0.0) / max(1, width - count)
    # No direction is narrower than a millionth of the widest: features that never vary would make any change infinite.
    least = 1e-6 * max(total / width, 1e-12)
    rest = torch.tensor(max(left, least) ** 0.5, dtype=torch.float32)
    reference = Reference(
        mean,
        directions[:, :count].contiguous(),
        variances.clamp(min=least).sqrt().float(),
        rest,
        torch.zeros(0, width),
        torch.zeros(0),
    )
    return replace(reference, centres=reference._whitened(means + mean))


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(points, centres).min(dim=1).values


# ---------------------------------------------------------------------------------------------- telling apart


def separation(usual: Floats, other: Floats, entries: int | None = None) -> dict[str, float | None]:
    """AUROC: the probability that a row of another set lies further away than a usual one, with its 95 % interval.

    The interval is that of Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747; 0.5 tells nothing apart.

    Parameters
    ----------
    entries : int, optional
        How many of the others are independent, where rows stand there several times; None: all.
    """
    if not len(usual) or not len(other):
        return {"value": None, "low": None, "high": None}
    ordered = np.sort(usual)
    below = np.searchsorted(ordered, other, side="left")
    upto = np.searchsorted(ordered, other, side="right")
    area = float((below + upto).mean() / 2 / len(usual))
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    count = len(other) if entries is None else entries
    variance = (area * (1 - area) + (count - 1) * (one - area**2) + (len(usual) - 1) * (two - area**2)) / (
        len(usual) * count
    )
    reach = 1.96 * max(variance, 0.0) ** 0.5
    return {"value": area, "low": max(0.0, area - reach), "high": min(1.0, area + reach)}


# ------------------------------------------------------------------------------------------------- heads


@dataclass
class Entering:
    """What entered a head in the latest forward pass: float32 on the CPU, of shape (rows, width)."""

    latest: Tensor | None = None

    def features(self) -> Tensor:
        """It, once there was a pass."""
        assert self.latest is not None, "a model's outputs come from its head"
        return self.latest


@contextmanager
def entering_head(module: nn.Module) -> Iterator[Entering]:
    """While this lasts, what enters the module's head is noted, one pass at a time."""
    noted = Entering()

    def note(_: nn.Module, args: tuple[Any, ...], __: Tensor) -> None:
        noted.latest = args[0].detach().float().cpu()

    head = next(child for child in module.modules() if isinstance(child, Head))
    hook = head.register_forward_hook(note)
    try:
        yield noted
    finally:
        hook.remove()
