"""Promise 1: parameters and buffers of frozen groups are the same before and after, and a break is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import fit_images, fit_text, weights
from torch import nn

from unfreeze.errors import FrozenMovedError
from unfreeze.stack.groups import LayerStack
from unfreeze.train.files import read_json
from unfreeze.train.loop import Training

STRONG = {"weight_decay": 0.5, "epochs": 3}


def body(path: Path) -> dict[str, torch.Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in load_file(path).items() if not name.startswith("fc.")}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize("replay", [True, False])
def test_a_head_only_run_moves_no_parameter_and_no_buffer(home: Path, tmp_path: Path, replay: bool) -> None:
    run = fit_images(home, tmp_path / "run", method="head", replay=replay, augment=[] if replay else ["flip"], **STRONG)
    before, after = body(home / "cnn.safetensors"), weights(run)
    assert any(name.endswith("running_mean") for name in before)
    assert moved(before, after) == set()
    (entry,) = run.result["ledger"]
    assert set(entry["frozen"]) == {"stem", "block 1.0", "block 2.0", "block 3.0", "block 4.0"}
    assert entry["unchanged"]


def test_statistics_of_learning_groups_move_and_those_below_do_not(home: Path, tmp_path: Path) -> None:
    run = fit_images(home, tmp_path / "run", method="last:2", augment=[], **STRONG)
    changed = moved(body(home / "cnn.safetensors"), weights(run))
    assert {name.split(".")[1] for name in changed} == {"layer4"}
    assert any(name.endswith("running_var") for name in changed)


def test_training_mode_in_frozen_layers_is_noticed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake of trainers that call model.train() before every epoch."""

    def careless(stack: LayerStack, learn: Any) -> None:
        stack.module.train()

    monkeypatch.setattr("unfreeze.train.loop.set_modes", careless)
    with pytest.raises(FrozenMovedError, match=r"stem, block 1\.0"):
        fit_images(home, tmp_path / "run", method="head", replay=False, **STRONG)
    assert read_json(tmp_path / "run" / "status.json")["status"] == "failed"
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize("what", ["parameter", "buffer"])
def test_a_single_nudged_number_is_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    update = Training._update

    def nudging(self: Training, *arguments: Any) -> None:
        update(self, *arguments)
        norm = self.job.stack.module.get_submodule("backbone.bn1")
        with torch.no_grad():
            (norm.weight if what == "parameter" else norm.running_var)[0].mul_(1 + 1e-6)

    monkeypatch.setattr(Training, "_update", nudging)
    with pytest.raises(FrozenMovedError, match=r"'.*' frozen layer groups changed: stem"):
        fit_images(home, tmp_path / "run", method="head", **STRONG)


FREEZING = {"method": None, "phases": [{"learn": "all", "epochs": 1}, {"learn": "head", "epochs": 1}]}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop", "adafactor", "lion"])
def test_a_layer_that_has_learned_and_is_frozen_again_stands_still(home: Path, tmp_path: Path, optimizer: str) -> None:
    """Momentum and weight decay of its first phase must not carry it further."""
    run = fit_text(home, tmp_path / "run", optimizer=optimizer, weight_decay=0.5, **FREEZING)
    assert [set(entry["frozen"]) for entry in run.result["ledger"]] == [
        set(),
        {"embeddings", "block 0", "block 1", "block 2"},
    ]


def test_gradients_of_zero_instead_of_none_would_be_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zeroed(stack: LayerStack, learn: Any) -> None:
        for group in stack.groups:
            for _, parameter in stack.parameters(group):
                parameter.requires_grad_(group.name in learn)

    def zero_grad(self: torch.optim.Optimizer, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.zero_()
            group["lr"] = group["lr"] or 1e-3

    run = Training.run

    def careless(self: Training) -> Any:
        monkeypatch.setattr("unfreeze.stack.frontier.set_learning", zeroed)
        monkeypatch.setattr(torch.optim.Optimizer, "zero_grad", zero_grad)
        return run(self)

    monkeypatch.setattr(Training, "run", careless)
    with pytest.raises(FrozenMovedError, match="embeddings"):
        fit_text(home, tmp_path / "run", weight_decay=0.5, **FREEZING)


def test_dropout_is_off_in_frozen_layers(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: set[tuple[str, bool]] = set()
    update = Training._update

    def watching(self: Training, phase: Any, *arguments: Any) -> None:
        for group in self.job.working.stack.groups:
            for _, outer in self.job.working.stack.modules(group):
                found = [module.training for module in outer.modules() if isinstance(module, nn.Dropout)]
                modes.update((group.name, mode) for mode in found)
        update(self, phase, *arguments)

    monkeypatch.setattr(Training, "_update", watching)
    fit_text(home, tmp_path / "run", method="last:2", epochs=1)
    assert modes == {("embeddings", False), ("block 0", False), ("block 1", False), ("block 2", True), ("head", True)}


def test_a_frozen_layer_that_moves_only_in_the_copy_that_computes_is_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Training._update

    def nudging(self: Training, *arguments: Any) -> None:
        update(self, *arguments)
        with torch.no_grad():
            self.job.working.module.get_parameter("backbone.encoder.layer.0.output.dense.weight")[0].mul_(1.1)

    monkeypatch.setattr(Training, "_update", nudging)
    with pytest.raises(FrozenMovedError, match=r"layer\.0\.output\.dense\.weight' changed in the copy"):
        fit_text(home, tmp_path / "run", method="last:2", epochs=1, precision="bf16")
