"""Linear probes with planted answers: what can be read off, what was lost, what only turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from unfreeze.evidence._probe import FOLDS, STRENGTHS, compared, folds, probe, ridge

ROWS, WIDTH, CLASSES = 300, 12, 3


def planted(signal: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes that the first directions tell apart, among noise."""
    draw = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (ROWS,), generator=draw)
    features = torch.randn(ROWS, WIDTH, generator=draw)
    features[torch.arange(ROWS), classes] += signal
    return features, classes


def value_of(features: Tensor, targets: Tensor, task: str = "classification", read: Tensor | None = None) -> float:
    return probe(features, targets, task, 0, *([] if read is None else [read]))[-1].value(np.arange(len(features)))


def test_what_is_there_is_read_off_and_what_is_not_is_not() -> None:
    features, classes = planted(signal=8.0)
    assert value_of(features, classes) > 0.99
    assert value_of(torch.randn(ROWS, WIDTH), classes) == pytest.approx(1 / CLASSES, abs=0.1)


def test_a_turn_loses_nothing_and_still_breaks_a_probe_that_was_fitted_before() -> None:
    features, classes = planted(signal=8.0)
    turned = features.roll(5, dims=1)
    assert value_of(turned, classes) > 0.99
    assert value_of(features, classes, read=turned) < 0.6
    assert value_of(features, classes, read=features) == value_of(features, classes)


def test_a_planted_loss_is_told_with_an_interval_below_zero() -> None:
    features, classes = planted()
    lost = features.clone()
    lost[:, :CLASSES] = torch.randn(ROWS, CLASSES)
    (was, stale), (now,) = (
        probe(features, classes, "classification", 0, lost),
        probe(lost, classes, "classification", 0),
    )
    found = compared(was, now, stale, 500, 0)
    assert found["difference"]["value"] == pytest.approx(found["after"]["value"] - found["before"]["value"])
    assert found["difference"]["high"] < 0
    assert found["unfitted_difference"]["high"] < 0
    same = compared(was, was, was, 500, 0)
    assert same["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_pairing_narrows_the_difference() -> None:
    """Two probes that err on the same rows differ more surely than their own intervals would allow."""
    features, classes = planted(signal=1.0)
    (one,) = probe(features, classes, "classification", 0)
    (other,) = probe(features + 0.05 * torch.randn(ROWS, WIDTH), classes, "classification", 0)
    found = compared(one, other, one, 500, 0)
    width = {name: figure["high"] - figure["low"] for name, figure in found.items()}
    assert width["difference"] < 0.6 * width["before"]


def test_a_dead_feature_that_wakes_up_does_not_drown_the_others() -> None:
    """Its only change before was rounding, which some ridge may have found use for."""
    features, classes = planted(signal=8.0)
    features[:, 7] = 1e-30 * torch.randn(ROWS)
    woken = features.clone()
    woken[:, 7] = 1e-3 * torch.randn(ROWS)
    assert value_of(features, classes, read=woken) > 0.99


def test_numbers_and_several_labels() -> None:
    features, classes = planted(signal=8.0)
    number = features[:, 0] * 2 - features[:, 1] + 3
    assert value_of(features, number, "regression") > 0.99
    assert value_of(torch.randn(ROWS, WIDTH), number, "regression") < 0.1
    labels = torch.stack([classes == 0, classes != 1], dim=1).float()
    assert value_of(features, labels, "multilabel") > 0.97
    assert value_of(torch.randn(ROWS, WIDTH), labels, "multilabel") < 0.8


def test_the_figures_are_those_of_their_definitions() -> None:
    features, classes = planted()
    number = features[:, 0] + torch.randn(ROWS)
    (found,) = probe(features, number, "regression", 0)
    squares, total, square = found.parts.sum(axis=0)
    values = number.double().numpy()
    assert found.value(np.arange(ROWS)) == pytest.approx(1 - squares / np.square(values - values.mean()).sum())
    assert total == pytest.approx(values.sum())
    assert square == pytest.approx(np.square(values).sum())
    labels = torch.nn.functional.one_hot(classes, CLASSES).float()
    (multi,) = probe(features, labels, "multilabel", 0)
    hits, wrong = multi.parts.sum(axis=0)
    assert multi.value(np.arange(ROWS)) == pytest.approx(2 * hits / (2 * hits + wrong))


def test_the_ridge_is_that_of_a_library_that_leaves_out_each_row() -> None:
    from sklearn.linear_model import RidgeCV

    draw = np.random.default_rng(0)
    for rows, width in ((40, 6), (30, 50)):
        x, new = draw.normal(size=(rows, width)), draw.normal(size=(9, width))
        y = x[:, :2] @ draw.normal(size=(2, 3)) + draw.normal(size=(rows, 3)) + 5
        mean, scale = x.mean(axis=0), np.sqrt(x.var(axis=0).mean())
        fitted = RidgeCV(alphas=STRENGTHS).fit((x - mean) / scale, y)
        np.testing.assert_allclose(ridge(x, y, [new])[0], fitted.predict((new - mean) / scale), rtol=1e-6)


def test_every_row_is_predicted_by_a_model_that_has_not_seen_it() -> None:
    """Features of pure noise that are unique to each row would be learned by heart otherwise."""
    classes = torch.arange(ROWS) % 2
    assert value_of(torch.randn(ROWS, 2 * ROWS), classes) < 0.65


def test_folds_share_out_each_class() -> None:
    classes = np.repeat(np.arange(4), [100, 10, 5, 2])
    found = folds(classes, len(classes), 0)
    for label, least in ((0, 20), (1, 2), (2, 1)):
        assert np.bincount(found[classes == label], minlength=FOLDS).min() == least
    assert sorted(np.bincount(folds(None, 23, 0), minlength=FOLDS)) == [4, 4, 5, 5, 5]


def test_a_thousand_labels_and_features_that_never_vary() -> None:
    features, _ = planted()
    features[:, 3] = 7.0
    classes = torch.arange(ROWS) % 200
    assert 0 <= value_of(features, classes) <= 1
