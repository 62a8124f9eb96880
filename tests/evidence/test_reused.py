"""What a run whose head alone learned has at hand is not computed again, and is what computing again would give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from collecting import ASKED, only
from small import fit_images, fit_text

from unfreeze.evidence import _before, movement
from unfreeze.evidence._before import features_before
from unfreeze.evidence._context import Context
from unfreeze.evidence._features import sampled


@pytest.fixture(scope="module", params=["text", "image"])
def context(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    fit = {"text": fit_text, "image": fit_images}[request.param]
    options = {"method": "head", "epochs": 3, "augment": [], **ASKED} if request.param == "image" else ASKED
    with only("layers") as contexts:
        fit(home, tmp_path_factory.mktemp("reused") / "run", **{"method": "head", "epochs": 3, **options})
    return contexts[0]


def test_training_rows_are_played_back(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    assert context.replayed is not None
    rows, plain = features_before(replace(context, replayed=None, shared={}), "train", 20, 1e6)
    monkeypatch.setattr(_before, "head_features", None)  # no model is read
    again, played = features_before(replace(context, shared={}), "train", 20, 1e6)
    assert again == rows
    assert len(played) == 20
    torch.testing.assert_close(played, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


def test_the_geometry_before_is_read_with_the_geometry_after(context: Context) -> None:
    rows = sampled(len(context.feeds["validation"]), 16, 0)
    inputs = [context.feeds["validation"].examples.inputs[row] for row in rows]
    was, now = movement._geometries(context, "validation", rows)
    plain = movement._features(context, context.before, inputs)
    assert set(was) == set(now) == set(plain)
    for name, features in plain.items():
        torch.testing.assert_close(was[name], features, rtol=1e-3, atol=1e-3 * float(features.abs().max()))
    head = context.stack.names[-1]
    assert not torch.allclose(was[head], now[head], atol=1e-3)
