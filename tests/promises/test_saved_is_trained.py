"""Promise 3: a run is finished only when the saved model, loaded again, predicts as the trained one did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import essence, fit_images, fit_text, resume

from unfreeze.errors import ReloadError
from unfreeze.evaluation import finish
from unfreeze.evaluation.gate import outputs_of
from unfreeze.models.pretrained import Pretrained
from unfreeze.run import Run

Tensors = dict[str, torch.Tensor]


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    save = finish.save

    def saved(pretrained: Pretrained, folder: Path) -> None:
        save(pretrained, folder)
        change(folder)

    monkeypatch.setattr(finish, "save", saved)


def change_weights(change: Callable[[Tensors], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return apply


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def another_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["good"], vocabulary["rain"] = vocabulary["[SEP]"], vocabulary["good"]
    path.write_text(json.dumps(content))


def bend_head(tensors: Tensors) -> None:
    name = next(name for name in tensors if name.startswith("head.") and name.endswith("weight"))
    tensors[name] *= 1.01


DAMAGE = {
    "a body weight": change_weights(lambda t: t["backbone.encoder.layer.0.output.dense.weight"].mul_(1.1)),
    "the head": change_weights(bend_head),
    "a missing weight": change_weights(lambda t: t.pop("backbone.encoder.layer.0.output.dense.weight")),
    "a truncated file": truncate,
    "no file": lambda folder: (folder / "model.safetensors").unlink(),
    "another tokenizer": another_tokenizer,
}


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_text(home, tmp_path_factory.mktemp("whole") / "run").path


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_between_saving_and_loading_is_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, damage: str
) -> None:
    with monkeypatch.context() as patch:
        tamper(patch, DAMAGE[damage])
        with pytest.raises(ReloadError):
            fit_text(home, tmp_path / "run")
    run = Run(tmp_path / "run")
    assert run.status == "failed"
    assert not (run.path / "result.json").exists()
    # What was trained is not lost: saved without damage, the run is finished.
    resume(run.path)
    assert essence(run.path) == essence(whole)


@pytest.mark.parametrize("change", ["dropped", "moved"])
def test_buffers_are_part_of_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    name = "backbone.bn1.running_mean"
    broken = change_weights(lambda t: t.pop(name) if change == "dropped" else t[name].add_(1))
    tamper(monkeypatch, broken)
    with pytest.raises(ReloadError):
        fit_images(home, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_fresh_process_reproduces_the_predictions(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", evaluation__gate="process")
    gate = run.result["gate"]
    assert (gate["process"], gate["passed"], gate["rows"]) == ("fresh", True, 6)
    assert gate["difference"] <= gate["tolerance"]
    assert run.status == "finished"
    reloaded = outputs_of(run.pretrained, ["good movie"])
    predicted = run.predict(["good movie"])[0]["probabilities"]
    assert reloaded.softmax(-1).max().item() == pytest.approx(max(predicted.values()))


def test_a_fresh_process_notices_damage(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, DAMAGE["the head"])
    with pytest.raises(ReloadError, match="does not reproduce the trained one: on 6 rows"):
        fit_text(home, tmp_path / "run", evaluation__gate="process")
    assert Run(tmp_path / "run").status == "failed"
