"""Linear models on fixed features, which answer as the task's head does: the simplest judge that knows the inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

STRENGTH = 0.1
"""C of the logistic regression: rather strong regularisation, since labels may be wrong."""

ALPHAS = (1.0, 10.0, 100.0, 1000.0, 10000.0)

LOGISTIC = 1_000_000
"""Rows times classes up to which a logistic regression is fitted; beyond it a method with a closed form."""

MOST_STEPS = 40
"""Of a logistic regression: a judge that is nearly there judges as well."""

OPERATIONS = 1e11
"""In a second of fitting, about: two cores of today."""

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
    if task == "classification" and len(features) * width <= LOGISTIC:
        everything = torch.ones(1, len(features), dtype=torch.bool)
        return logistic_outputs(features, targets, everything, asked, width, [strength])[0]
    known, unknown = _alike(features.double().numpy(), asked.double().numpy())
    true = targets.numpy()
    if task == "classification":
        found = _classes(known, true, unknown, width)
    elif task == "multilabel":
        each = [_label(known, true[:, label] > 0.5, unknown, width, strength) for label in range(width)]
        found = np.stack(each, axis=1)
    else:
        found = _number(known, true.reshape(-1), unknown)[:, None]
    return torch.from_numpy(found).float()


def seconds_to_fit(rows: int, features: int, width: int, models: int) -> float:
    """About how long logistic regressions take that are fitted together: products forward, and back to the weights."""
    return 4.0 * rows * features * width * models * MOST_STEPS / OPERATIONS


def out_of_fold(task: str, features: Tensor, targets: Tensor, width: int, folds: int, seed: int) -> Tensor:
    """For each row the answer of a linear model that was fitted without it: (rows, width).

    Folds are dealt out class by class, so that each class is in all of them as far as its rows reach.
    """
    fold = torch.from_numpy(_folds(targets if task == "classification" else None, len(features), folds, seed))
    outputs = torch.zeros(len(features), width)
    together = task == "classification" and len(features) * width <= LOGISTIC
    if together:
        inside = fold != torch.arange(folds)[:, None]
        found = logistic_outputs(features, targets, inside, features, width, [STRENGTH] * folds)
        return found[fold, torch.arange(len(features))]
    for number in range(folds):
        known, asked = fold != number, fold == number
        if asked.any() and known.any():
            outputs[asked] = linear_outputs(task, features[known], targets[known], features[asked], width)
    return outputs


def logistic_outputs(
    features: Tensor, targets: Tensor, fitted: Tensor, asked: Tensor, width: int, strengths: Sequence[float]
) -> Tensor:
    """Several logistic regressions that share their rows, fitted at once by L-BFGS: one product serves all of them.

    Parameters
    ----------
    targets : Tensor of shape (rows,)
        Numbers of classes.
    fitted : bool Tensor of shape (models, rows)
        Which rows each model is fitted to.
    asked : Tensor of shape (other rows, features)
    strengths : sequence of float
        C of each model: the weight of the rows against half the squares of the weights, one vector for each class.

    Returns
    -------
    Tensor of shape (models, other rows, width)
        Log-probabilities; a class that a model has not seen has next to none.
    """
    known, unknown = (torch.from_numpy(each).float() for each in _alike(features.numpy(), asked.numpy()))
    models, chosen = len(fitted), fitted.double()
    weights = torch.zeros(known.shape[1], models * width, requires_grad=True)
    offsets = torch.zeros(models * width, requires_grad=True)
    shares = (chosen * torch.tensor(strengths, dtype=torch.float64)[:, None]).float()
    seen = torch.stack([torch.bincount(targets[rows], minlength=width) > 0 for rows in fitted])
    never = torch.zeros(models, width).masked_fill(~seen, float("-inf"))
    optimizer = torch.optim.LBFGS(
        [weights, offsets], max_iter=MOST_STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def said(rows: Tensor) -> Tensor:
        logits: Tensor = (rows @ weights + offsets).unflatten(1, (models, width)).transpose(0, 1)
        return logits + never[:, None]

    def loss() -> Tensor:
        optimizer.zero_grad()
        right = said(known).log_softmax(dim=2).gather(2, targets.expand(models, -1).unsqueeze(2)).squeeze(2)
        found = -(shares * right.masked_fill(~fitted, 0.0)).sum() + weights.square().sum() / 2
        found.backward()
        return found

    optimizer.step(loss)
    with torch.no_grad():
        likely = said(unknown).softmax(dim=2).clamp(min=TINY)
        logs: Tensor = (likely / likely.sum(dim=2, keepdim=True)).log()
        return logs


def _alike(known: Array, unknown: Array) -> tuple[Array, Array]:
    """Features of mean 0 and scale 1 by those that are known; those that do not vary are left at 0."""
    mean, scale = known.mean(axis=0), known.std(axis=0)
    scale[scale < TINY * max(1.0, float(scale.max(initial=0.0)))] = 1.0
    return (known - mean) / scale, (unknown - mean) / scale


def _folds(classes: Tensor | None, rows: int, folds: int, seed: int) -> Array:
    """A fold for each row."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(rows)
    if classes is not None:
        shuffled = shuffled[np.argsort(classes.numpy()[shuffled], kind="stable")]
    fold = np.empty(rows, dtype=np.intp)
    fold[shuffled] = np.arange(rows) % folds
    return fold


def _classes(known: Array, true: Array, unknown: Array, classes: int) -> Array:
    """Log-probabilities; a class that was not seen has next to none."""
    seen = np.unique(true)
    shares = np.full((len(unknown), classes), TINY)
    if len(seen) == 1:
        shares[:, seen] = 1.0
    else:
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

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
