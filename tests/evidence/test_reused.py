"""What a run has at hand is not computed again by its evidence, and is what computing again would give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from collecting import ASKED, only
from small import fit_images, fit_text

from unfreeze.evidence import _before, forgetting, movement
from unfreeze.evidence._before import features_before
from unfreeze.evidence._context import Context
from unfreeze.evidence._features import sampled

FIT: dict[str, Any] = {"text": fit_text, "image": fit_images}


def fitted(home: Path, folder: Path, modality: str, method: str) -> Context:
    """What the evidence of such a run is made from."""
    plain = {"augment": []} if modality == "image" else {}
    with only("layers") as contexts:
        FIT[modality](home, folder, **{**ASKED, **plain, "method": method, "epochs": 3})
    return contexts[0]


@pytest.fixture(scope="module", params=["text", "image"])
def context(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Of a run whose head alone learned."""
    return fitted(home, tmp_path_factory.mktemp("head") / "run", request.param, "head")


@pytest.fixture(scope="module", params=["text", "image"])
def upper(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Of a run whose upper groups learned."""
    return fitted(home, tmp_path_factory.mktemp("upper") / "run", request.param, "last:2")


def played_back(context: Context, monkeypatch: pytest.MonkeyPatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of training rows before training, by replay and by reading."""
    assert context.replayed is not None
    rows, plain = features_before(replace(context, replayed=None, shared={}), "train", 20, 1e6)
    with monkeypatch.context() as patch:
        patch.setattr(_before, "head_features", None)  # no row passes the whole network
        again, played = features_before(replace(context, shared={}), "train", 20, 1e6)
    assert again == rows
    assert len(played) == 20
    return played, plain


def test_training_rows_are_played_back(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    played, plain = played_back(context, monkeypatch)
    torch.testing.assert_close(played, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


def test_frozen_layers_are_played_back_into_the_upper_ones_as_they_were(
    upper: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, plain = played_back(upper, monkeypatch)
    torch.testing.assert_close(played, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    rows, before = features_before(upper, "validation", 20, 1e6)
    after = upper.features("validation")[torch.tensor(rows)]
    assert not torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(after.abs().max())), "the upper ones learned"


def test_drift_is_told_of_features_that_are_there(upper: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, before, after = forgetting._own_rows(upper, "validation")
    read = forgetting._features(upper, upper.pretrained, upper.feeds["validation"].examples, rows)
    torch.testing.assert_close(after, read, rtol=1e-3, atol=1e-3 * float(read.abs().max()))
    monkeypatch.setattr(_before, "head_features", None)
    monkeypatch.setattr(forgetting, "head_features", None)
    again, known, _ = forgetting._own_rows(upper, "validation")
    assert again == rows
    assert torch.equal(known, before)


def test_outputs_before_are_those_of_the_new_head_on_the_features_that_are_there(context: Context) -> None:
    rows = sampled(len(context.feeds["validation"]), 16, 0)
    inputs = [context.feeds["validation"].examples.inputs[row] for row in rows]
    head = context.stack.names[-1]
    for found, model in zip(
        movement._outputs(context, "validation", rows), (context.before, context.pretrained), strict=True
    ):
        read = movement._features(context, model, inputs)[head]
        torch.testing.assert_close(found[head], read, rtol=1e-3, atol=1e-3 * float(read.abs().max()))


def test_geometry_below_a_head_that_learned_alone_is_that_of_before_without_reading(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movement, "group_features", None)
    found = movement.collect(replace(context, shared={}))
    assert found is not None
    *below, head = found["groups"]
    assert all(group["unchanged"] and group["cka"] == 1.0 for group in below)
    assert head["cka"] is None or head["cka"] < 1  # None of few rows
