"""Promise 2: what is supervised is what the user thinks; anything else is an error before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import BASE, fit_text
from torch.utils._pytree import tree_map_only

import unfreeze
from unfreeze import planning
from unfreeze.data.manifest import Examples, Prepared
from unfreeze.errors import PreflightError
from unfreeze.models.pretrained import Pretrained
from unfreeze.train.loop import Training


@pytest.fixture(autouse=True)
def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update in one of these tests would be the failure that the preflight has to prevent."""

    def step(self: Training, *_: Any) -> None:
        raise AssertionError("an update was made")

    monkeypatch.setattr(Training, "_update", step)


def change_data(monkeypatch: pytest.MonkeyPatch, change: Callable[[Prepared], Prepared]) -> None:
    prepare = planning.prepare
    monkeypatch.setattr(planning, "prepare", lambda *args, **kwargs: change(prepare(*args, **kwargs)))


def change_model(monkeypatch: pytest.MonkeyPatch, change: Callable[[Pretrained], None]) -> None:
    load = planning.load_pretrained

    def changed(*args: Any, **kwargs: Any) -> Pretrained:
        pretrained = load(*args, **kwargs)
        change(pretrained)
        return pretrained

    monkeypatch.setattr(planning, "load_pretrained", changed)


def refused(home: Path, output: Path, **options: Any) -> str:
    with pytest.raises(PreflightError) as caught:
        fit_text(home, output, **options)
    assert not output.exists(), "nothing was trained, so nothing is left behind"
    return str(caught.value)


def test_a_label_that_the_head_lacks(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_weather(prepared: Prepared) -> Prepared:
        return replace(prepared, manifest=replace(prepared.manifest, labels=("bank", "film")))

    change_data(monkeypatch, without_weather)
    assert "no output for the label 'weather'" in refused(home, tmp_path / "run")


def test_a_target_that_is_always_the_same(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(prepared: Prepared) -> Prepared:
        train = prepared.splits["train"]
        same = Examples(train.inputs, ["film"] * len(train), train.origin)
        return replace(prepared, splits={**prepared.splits, "train": same})

    change_data(monkeypatch, constant)
    assert "Every training row has the target 'film'" in refused(home, tmp_path / "run")


def test_a_group_that_no_gradient_reaches(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(pretrained: Pretrained) -> None:
        block = pretrained.module.get_submodule("backbone.encoder.layer.1")
        # A tensor, or in older versions of the library a tuple of one.
        cut_off = partial(tree_map_only, torch.Tensor, torch.Tensor.detach)
        block.register_forward_hook(lambda module, inputs, output: cut_off(output))

    change_model(monkeypatch, cut)
    message = refused(home, tmp_path / "run", method="full")
    assert "embeddings, block 0, block 1 should learn but no gradient reaches them" in message


def test_a_frozen_group_that_would_get_a_gradient(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unfreeze.stack.frontier.set_learning", lambda stack, learn: None)
    assert "embeddings, block 0, block 1, block 2 are frozen but get a gradient" in refused(home, tmp_path / "run")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def spoil(pretrained: Pretrained) -> None:
        with torch.no_grad():
            next(parameter for name, parameter in pretrained.module.named_parameters() if "head" in name)[0] = value

    change_model(monkeypatch, spoil)
    assert "not a finite number" in refused(home, tmp_path / "run")


def test_it_shows_texts_as_the_model_reads_them_and_their_targets(home: Path) -> None:
    table = home / "table.csv"
    text, label, _ = table.read_text().splitlines()[1].split(",")
    made = unfreeze.plan(table, str(home / "bert"), target="label", split="split", method="head", epochs=1, **BASE)
    assert len(made.preflight) == 3
    assert f"target '{label}'" in made.preflight[0]
    assert text.split()[0] in made.preflight[0]
