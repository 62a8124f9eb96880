"""Compiled passes: the same run up to rounding, refused aloud where they do not fit, not begun where they cost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small import BASE, KillAt, Killed, essence, fit_images, fit_text, resume, weights

from unfreeze import api
from unfreeze.errors import RunError
from unfreeze.recipe_io import load_recipe
from unfreeze.train import compiling
from unfreeze.train.compiling import WORTH, worth_compiling
from unfreeze.train.distillation import Distillation

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PLAIN = {"method": "full", "epochs": 2, "model__dropout": 0.0, "report": False}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of rows with which compiled passes ran; traced, but computed by torch's own kernels."""
    sizes: list[int] = []
    compile = torch.compile

    def noting(module: Any, **options: Any) -> Any:
        forward = compile(module, **options)

        def run(**batch: Any) -> Any:
            sizes.append(len(next(iter(batch.values()))))
            return forward(**batch)

        return run

    monkeypatch.setattr(compiling, "BACKEND", "eager")
    monkeypatch.setattr(torch, "compile", noting)
    return sizes


def check_alike(one: Any, other: Any, tolerance: float = 1e-4) -> None:
    for mine, theirs in zip(one.result["history"], other.result["history"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=tolerance)
    for name, tensor in weights(other).items():
        torch.testing.assert_close(weights(one)[name], tensor, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [{}, {"method": "lp-ft", "epochs": 3}, {"micro_batch": 3}, {"fast_kernels": False}, {"precision": "bf16"}],
)
def test_it_is_the_same_run(home: Path, tmp_path: Path, compiled: list[int], options: dict[str, Any]) -> None:
    """Of lp-ft the first phase is replayed and computed plainly; whole tables are trained in both."""
    plain = fit_text(home, tmp_path / "plain", **{**PLAIN, **options}, compile=False, touched_rows=False)
    assert compiled == []
    run = fit_text(home, tmp_path / "compiled", **{**PLAIN, **options}, compile=True)
    assert sum(compiled) == (64 if options.get("method") == "lp-ft" else 88)  # an epoch and a half, in whole batches
    check_alike(run, plain, 0.02 if options.get("precision") == "bf16" else 1e-4)


def test_images_too(home: Path, tmp_path: Path, compiled: list[int]) -> None:
    options = {"method": "full", "epochs": 1, "augment": [], "report": False}
    plain = fit_images(home, tmp_path / "plain", **options)
    check_alike(fit_images(home, tmp_path / "compiled", **options, compile=True), plain, 1e-3)
    assert compiled


def test_interrupted_it_goes_on(home: Path, tmp_path: Path, compiled: list[int]) -> None:
    options = {**PLAIN, "model__dropout": 0.2, "compile": True, "checkpoint_steps": 3}
    whole = fit_text(home, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(7), **options)
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a C++ compiler")
def test_by_a_real_compiler(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    options = {**PLAIN, "epochs": 1, "model__drop_top": 2}
    plain = fit_text(home, tmp_path / "plain", **options)
    check_alike(fit_text(home, tmp_path / "compiled", **options, compile=True), plain, 1e-3)


def test_with_activations_computed_twice_it_is_said_and_left(home: Path, tmp_path: Path, compiled: list[int]) -> None:
    run = fit_text(home, tmp_path / "run", **PLAIN, compile=True, gradient_checkpointing=True)
    assert compiled == []
    assert any("passes are not compiled, since training.gradient_checkpointing" in note for note in run.result["notes"])


def test_with_a_technique_that_looks_into_passes_it_is_said_and_left(
    home: Path, tmp_path: Path, compiled: list[int]
) -> None:
    options = {**BASE, **PLAIN, "target": "label", "split": "split", "output": tmp_path / "run", "compile": True}
    recipe, _ = api.recipe_of(home / "table.csv", str(home / "bert"), None, options)
    run = api.fit_recipe(recipe, hooks=lambda plan: [Distillation(torch.randn(44, 5))])
    assert compiled == []
    assert any("passes are not compiled, since a technique" in note for note in run.result["notes"])


def test_where_torch_cannot_compile_it_says_what_helps(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise FileNotFoundError("no C++ compiler")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    with pytest.raises(RunError, match=r"could not compile .* training\.compile=false"):
        fit_text(home, tmp_path / "run", **PLAIN, compile=True)


@pytest.mark.parametrize(
    ("device", "updates", "expected"),
    [("cpu", 10**9, False), ("mps", 10**9, False), ("cuda", WORTH - 1, False), ("cuda:1", WORTH, True)],
)
def test_it_is_begun_where_it_may_pay(device: str, updates: int, expected: bool) -> None:
    chosen, reason = worth_compiling(device, updates)
    assert chosen is expected
    assert reason


def test_on_a_cpu_the_recipe_says_why_not(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", **PLAIN)
    assert load_recipe(run.path / "recipe.resolved.yaml").training.compile is False
    assert "compile: false  # measured on a CPU" in (run.path / "recipe.resolved.yaml").read_text()
