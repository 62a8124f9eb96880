"""Calibration errors and reliability diagrams: functions of sums over rows, so that all are resampled together."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from unfreeze.evaluation.calibration import Calibration
from unfreeze.evaluation.resampling import Resampled, Statistic, widened
from unfreeze.tasks._metrics import BINS

Floats: TypeAlias = NDArray[np.float64]
Figure: TypeAlias = dict[str, float | None]

MOST_QUANTILES = 1_000_000
"""Probabilities from which the edges of bins of equal mass are taken."""

AT_A_TIME = 8192
"""Rows whose probabilities are in memory together: of a thousand classes they take as much as all outputs."""

# Columns: counts, confidence and hits of each of 15 bins, gaps of each of 15 bins of equal mass, Brier score,
# negative log-likelihood.
COUNT, SURE, HIT, MASS = (slice(start, start + BINS) for start in range(0, 4 * BINS, BINS))
BRIER, NLL, WIDTH = 4 * BINS, 4 * BINS + 1, 4 * BINS + 2


def _ece(means: Floats) -> Floats:
    found: Floats = np.abs(means[..., SURE] - means[..., HIT]).sum(axis=-1) / means[..., COUNT].sum(axis=-1)
    return found


def _ece_equal_mass(means: Floats) -> Floats:
    found: Floats = np.abs(means[..., MASS]).sum(axis=-1) / means[..., COUNT].sum(axis=-1)
    return found


def _brier(means: Floats) -> Floats:
    return means[..., BRIER]


def _nll(means: Floats) -> Floats:
    return means[..., NLL]


FIGURES = {"ece": _ece, "ece_equal_mass": _ece_equal_mass, "brier": _brier, "nll": _nll}


def figures(drawn: Resampled) -> dict[str, Figure]:
    """Calibration errors, Brier score and negative log-likelihood with their intervals."""
    return {name: drawn.figure(of, biased=name.startswith("ece")) for name, of in FIGURES.items()}


def differences(drawn: Resampled) -> dict[str, Figure]:
    """After minus before, where both sets of columns stand beside each other; negative is better."""

    def difference(of: Statistic) -> Figure:
        return drawn.figure(lambda means: of(means[..., WIDTH:]) - of(means[..., :WIDTH]))

    return {name: difference(of) for name, of in FIGURES.items()}


def columns_of(calibration: Calibration, outputs: Tensor, targets: Tensor) -> Floats:
    """What each row contributes to every figure, of shape (rows, WIDTH)."""
    parts = [
        _judged(calibration.task, calibration.scaled(some), true)
        for some, true in zip(outputs.split(AT_A_TIME), targets.split(AT_A_TIME), strict=True)
    ]
    sure, hits, brier, nll = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
    columns = np.zeros((len(targets), WIDTH))
    bins = np.minimum((sure * BINS).astype(np.intp), BINS - 1)
    columns[:, COUNT] = _by_bin(bins, np.ones_like(sure))
    columns[:, SURE] = _by_bin(bins, sure)
    columns[:, HIT] = _by_bin(bins, hits)
    columns[:, MASS] = _by_bin(_equal_mass(sure), sure - hits)
    columns[:, BRIER], columns[:, NLL] = brier, nll
    return columns


def _judged(task: str, scaled: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stated probabilities and whether they came true, (rows, entries) each; Brier score and loss of each row."""
    if task == "multilabel":
        probabilities, true = scaled.float().sigmoid(), targets.float()
        loss = binary_cross_entropy_with_logits(scaled.float(), true, reduction="none")
        return probabilities, true, (probabilities - true).square().mean(dim=1), loss.mean(dim=1)
    log_p = scaled.float().log_softmax(dim=1)
    probabilities = log_p.exp()
    own = log_p.gather(1, targets[:, None])[:, 0]
    top, guess = probabilities.max(dim=1)
    brier = probabilities.square().sum(dim=1) - 2 * own.exp() + 1
    return top[:, None], (guess == targets).float()[:, None], brier, -own


def _by_bin(bins: NDArray[np.intp], values: NDArray[Any]) -> Floats:
    """Sums of each row's values in each bin; both of shape (rows, entries)."""
    rows = np.arange(len(bins))[:, None]
    flat = np.bincount((rows * BINS + bins).ravel(), weights=values.ravel(), minlength=len(bins) * BINS)
    return flat.reshape(len(bins), BINS).astype(np.float64)


def _equal_mass(sure: NDArray[Any]) -> NDArray[np.intp]:
    """Bins that hold equally many probabilities (Nixon et al. 2019, arXiv:1904.01685)."""
    values = sure.ravel()
    if len(values) > MOST_QUANTILES:
        values = values[:: -(-len(values) // MOST_QUANTILES)]
    edges = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    found: NDArray[np.intp] = np.searchsorted(edges, sure.ravel(), side="right").reshape(sure.shape)
    return found


def diagram(drawn: Resampled, rows: int) -> list[dict[str, Any]]:
    """Each bin that is not empty: its range, entries, mean probability, and how often it came true."""
    counts, sure = drawn.means[COUNT], drawn.means[SURE]
    return [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "entries": round(counts[number] * rows),
            "probability": float(sure[number] / counts[number]),
            "observed": widened(drawn.share(HIT.start + number, COUNT.start + number), counts[number] * rows),
        }
        for number in range(BINS)
        if counts[number] > 0
    ]
