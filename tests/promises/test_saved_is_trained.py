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
from torch import nn

from unfreeze.errors import ReloadError
from unfreeze.evaluation import finish
from unfreeze.evaluation.gate import read_gate
from unfreeze.evaluation.reading import exact, outputs_of
from unfreeze.evaluation.state import differences, state_of
from unfreeze.models.pretrained import Pretrained
from unfreeze.run import Run

Tensors = dict[str, torch.Tensor]


def tamper(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    save = finish.save

    def saved(pretrained: Pretrained, folder: Path, **more: Any) -> None:
        save(pretrained, folder, **more)
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


def a_row_that_no_sample_reads(tensors: Tensors) -> None:
    tensors["backbone.embeddings.position_embeddings.weight"][-1] *= 2


WITHOUT_EFFECT = {
    "a row that is never read": (fit_text, a_row_that_no_sample_reads, "embeddings.position_embeddings.weight"),
    "the sign of a zero": (fit_images, lambda t: t["backbone.bn1.bias"].neg_(), "backbone.bn1.bias"),
    "a count": (fit_images, lambda t: t["backbone.bn1.num_batches_tracked"].add_(1), "bn1.num_batches_tracked"),
}


@pytest.mark.parametrize("change", WITHOUT_EFFECT)
def test_what_no_output_shows_is_noticed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    fit, spoil, name = WITHOUT_EFFECT[change]
    tamper(monkeypatch, change_weights(spoil))
    with pytest.raises(
        ReloadError, match=rf"trained one: once loaded again, '\S*{name}' holds other values\. It"
    ) as said:
        fit(home, tmp_path / "run")
    assert "outputs differ" not in str(said.value)
    gate = read_gate(tmp_path / "run")
    assert (gate["passed"], gate["difference"]) == (False, 0)
    assert gate["state"].endswith(f"{name}' holds other values")
    assert Run(tmp_path / "run").status == "failed"


def test_a_buffer_that_is_not_saved_has_to_be_made_again_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BERT's own token types, which it leaves out of its state and reads only where a tokenizer gives none."""
    save = finish.save

    def changed(pretrained: Pretrained, folder: Path, **more: Any) -> None:
        save(pretrained, folder, **more)
        assert "backbone.embeddings.token_type_ids" not in pretrained.module.state_dict()
        pretrained.module.get_buffer("backbone.embeddings.token_type_ids").add_(1)

    monkeypatch.setattr(finish, "save", changed)
    with pytest.raises(ReloadError, match=r"'backbone\.embeddings\.token_type_ids' holds other values"):
        fit_text(home, tmp_path / "run")


def test_differences_name_what_is_missing_new_or_of_another_kind() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = state_of(module)
    assert not list(differences(before, json.loads(json.dumps(state_of(module)))))
    module[0] = nn.Linear(2, 4, bias=False)
    module[1].running_mean = module[1].running_mean.double()
    module.register_buffer("more", torch.zeros(0), persistent=False)
    assert list(differences(before, state_of(module))) == [
        "'0.weight' is float32 of shape (4, 2) instead of float32 of shape (3, 2)",
        "'0.bias' is missing",
        "'1.running_mean' is float64 of shape (3,) instead of float32 of shape (3,)",
        "'more' is there and was not in training",
    ]


def test_a_fresh_process_reproduces_the_predictions(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", evaluation__gate="process")
    gate = run.result["gate"]
    assert (gate["process"], gate["passed"], gate["rows"]) == ("fresh", True, 6)
    assert gate["difference"] <= gate["tolerance"]
    assert (gate["state"], gate["tensors"]) == ("identical", len(state_of(run.pretrained.module)))
    assert "backbone.embeddings.position_ids" in json.loads((run.path / "gate" / "state.json").read_text())
    assert run.status == "finished"
    reloaded = outputs_of(run.pretrained, exact(run.pretrained), ["good movie"])
    predicted = run.predict(["good movie"], precision="float32")[0]["probabilities"]
    assert reloaded.softmax(-1).max().item() == pytest.approx(max(predicted.values()))


def test_a_fresh_process_notices_damage(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tamper(monkeypatch, DAMAGE["the head"])
    with pytest.raises(
        ReloadError, match=r"(?s)does not reproduce the trained one: on 6 rows.*'head\.\S*weight' holds"
    ):
        fit_text(home, tmp_path / "run", evaluation__gate="process")
    assert Run(tmp_path / "run").status == "failed"
