"""Linear models on fixed features, which answer as the task's head does: the simplest judge that knows the inputs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

STRENGTH = 0.1
"""C of the logistic regression: rather strong regularisation, since labels may be wrong."""

ALPHAS = (1.0, 10.0, 100.0, 1000.0, 10000.0)

LOGISTIC = 250_000
"""Rows times classes up to which a logistic regression is fitted; beyond it a method with a closed form."""

TINY = 1e-6


def linear_outputs(
    task: str, features: Tensor, targets: Tensor, asked: Tensor, width: int, strength: float = STRENGTH
) -> Tensor:
    """Fit a linear model and let it answer.

    Parameters
    ----------
    task : "classification", "multilabel" or "regression"
    features, targets : Tensor of shape (rows, features), and the rows' encoded targets
    asked : Tensor of shape (other rows, features)
    width : int
        Outputs of the task's head.
    strength : float
        C of a logistic regression.

    Returns
    -------
    Tensor of shape (other rows, width)
        Logits of classes or labels; standardised numbers.
    """
    known = features.double().numpy()
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale < TINY * max(1.0, float(scale.max(initial=0.0)))] = 1.0
    known, unknown = (known - mean) / scale, (asked.double().numpy() - mean) / scale
    true = targets.numpy()
    if task == "classification":
        found = _classes(known, true, unknown, width, strength)
    elif task == "multilabel":
        each = [_label(known, true[:, label] > 0.5, unknown, width, strength) for label in range(width)]
        found = np.stack(each, axis=1)
    else:
        found = _number(known, true.reshape(-1), unknown)[:, None]
    return torch.from_numpy(found).float()


def out_of_fold(task: str, features: Tensor, targets: Tensor, width: int, folds: int, seed: int) -> Tensor:
    """For each row the answer of a linear model that was fitted without it: (rows, width).

    Folds are dealt out class by class, so that each class is in all of them as far as its rows reach.
    """
    fold = _folds(targets if task == "classification" else None, len(features), folds, seed)
    outputs = torch.zeros(len(features), width)
    for number in range(folds):
        inside, outside = torch.from_numpy(fold != number), torch.from_numpy(fold == number)
        if outside.any() and inside.any():
            outputs[outside] = linear_outputs(task, features[inside], targets[inside], features[outside], width)
    return outputs


def _folds(classes: Tensor | None, rows: int, folds: int, seed: int) -> Array:
    """A fold for each row."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(rows)
    if classes is not None:
        shuffled = shuffled[np.argsort(classes.numpy()[shuffled], kind="stable")]
    fold = np.empty(rows, dtype=np.intp)
    fold[shuffled] = np.arange(rows) % folds
    return fold


def _classes(known: Array, true: Array, unknown: Array, classes: int, strength: float) -> Array:
    """Log-probabilities; a class that was not seen has next to none."""
    seen = np.unique(true)
    shares = np.full((len(unknown), classes), TINY)
    if len(seen) == 1:
        shares[:, seen] = 1.0
    else:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression

        if len(known) * len(seen) <= LOGISTIC:
            model: Any = LogisticRegression(C=strength, max_iter=300)
        else:
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        shares[:, seen] = _fitted(model, known, true).predict_proba(unknown).clip(TINY)
    logs: Array = np.log(shares / shares.sum(axis=1, keepdims=True))
    return logs


def _label(known: Array, true: Array, unknown: Array, labels: int, strength: float) -> Array:
    """Logits of one of several labels."""
    if true.all() or not true.any():
        share = (true.sum() + 0.5) / (len(true) + 1)
        return np.full(len(unknown), np.log(share / (1 - share)))
    if len(known) * labels <= LOGISTIC:
        from sklearn.linear_model import LogisticRegression

        answer: Array = _fitted(LogisticRegression(C=strength, max_iter=300), known, true).decision_function(unknown)
        return answer
    shares = _number(known, true.astype(np.float64), unknown).clip(0.001, 0.999)
    logits: Array = np.log(shares / (1 - shares))
    return logits


def _number(known: Array, true: Array, unknown: Array) -> Array:
    from sklearn.linear_model import RidgeCV

    answer: Array = _fitted(RidgeCV(alphas=ALPHAS), known, true).predict(unknown)
    return answer


def _fitted(model: Any, features: Array, targets: Array) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: a judge that is nearly there judges as well
        return model.fit(features, targets)
