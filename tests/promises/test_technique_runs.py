"""Whole runs of every method that adds to a model: interrupted and resumed, replayed below its top block, forecast."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from small import KillAt, Killed, essence, fit_images, fit_text, resume, weights

import unfreeze
from unfreeze.methods import METHODS
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.train import replaying

NO_IMAGES = {"prefix", "prompt", "qlora"}
"""That refuse convolutional networks: see the contract tests of techniques."""

TECHNIQUES = [name for name, method in METHODS.items() if method.additions]
RUNS = [
    (name, fit) for name in TECHNIQUES for fit in (fit_text, fit_images) if fit is fit_text or name not in NO_IMAGES
]
IN_BLOCKS = [
    name
    for name in TECHNIQUES
    if "blocks" in {each.name for each in fields(METHODS.get(name).options or type(None))}  # type: ignore[arg-type]
    and name != "prompt"  # a text's prompt enters at the bottom
]


def named(value: Any) -> str:
    return value if isinstance(value, str) else "text" if value is fit_text else "images"


@pytest.mark.parametrize(("method", "fit"), RUNS, ids=named)
def test_interrupted_it_is_the_run_that_was_not(home: Path, tmp_path: Path, method: str, fit: Any) -> None:
    options: dict[str, Any] = {"method": method, "epochs": 2, "training__checkpoint_steps": 2}
    options |= {"augment": []} if fit is fit_images else {"model__dropout": 0.2}
    whole = fit(home, tmp_path / "whole", **options)
    PROCESS_CACHE.clear()
    with pytest.raises(Killed):
        fit(home, tmp_path / "part", progress=KillAt(5), **options)
    resume(tmp_path / "part")
    assert essence(tmp_path / "part") == essence(whole.path)


@pytest.mark.parametrize("method", IN_BLOCKS)
def test_in_the_top_block_alone_what_lies_below_is_replayed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})  # tiny layers are cheaper to compute
    options: dict[str, Any] = {"method": method, "method__options": {"blocks": 1}, "epochs": 2}
    with_replay = fit_text(home, tmp_path / "replayed", replay=True, **options)
    PROCESS_CACHE.clear()
    without = fit_text(home, tmp_path / "plain", replay=False, **options)
    mine, theirs = weights(with_replay), weights(without)
    assert mine.keys() == theirs.keys()
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)
    assert not any("computed plainly" in note for note in with_replay.result["notes"])


@pytest.mark.parametrize("method", TECHNIQUES)
def test_the_forecast_counts_gradients_and_state_of_what_learns_only(home: Path, method: str) -> None:
    made = unfreeze.plan(
        home / "table.csv",
        str(home / "bert"),
        method=method,
        target="label",
        split="split",
        optimizer="adamw",
        epochs=1,
    )
    assert made.forecast is not None
    learned = sum(layer.parameters for layer in made.layers if layer.learns)
    (parts,) = {tuple(sorted(moment.parts.items())) for moment in made.forecast.moments if moment.learns}
    assert dict(parts)["gradients"] == 4 * learned
    assert dict(parts)["optimizer"] == 8 * learned
    assert learned < made.total_parameters
