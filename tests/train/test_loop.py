"""The loop on whole small runs: rates, micro-batches, the best weights, parts of epochs, what it logs and refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from small import fit_images, fit_text, weights

from unfreeze.errors import DivergedError
from unfreeze.methods import Phase
from unfreeze.progress import Silent
from unfreeze.recipe import TrainingRecipe
from unfreeze.run import Run
from unfreeze.train import loop
from unfreeze.train.files import read_json
from unfreeze.train.hooks import Hook
from unfreeze.train.loop import Training, phase_rate
from unfreeze.train.order import training_passes

STEPS = 6
"""Updates in an epoch of the table: 44 rows in batches of 8."""


@dataclass
class Recorded(Silent):
    """Everything that the loop tells."""

    phases: list[tuple[str, int]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def phase(self, index: int, phase: Phase, steps: int) -> None:
        self.phases.append((phase.name, steps))

    def step(self, step: int, loss: float, lr: float) -> None:
        self.losses.append(loss)
        self.rates.append(lr)

    def epoch(self, figures: Any) -> None:
        self.epochs.append(dict(figures))


def recorded(home: Path, output: Path, fit: Any = fit_text, **options: Any) -> tuple[Run, Recorded]:
    progress = Recorded()
    return fit(home, output, progress=progress, **options), progress


def test_micro_batches_give_the_gradient_of_the_whole_batch(home: Path, tmp_path: Path) -> None:
    """Normalised over the batch, also where the last part is smaller (8 rows as 3 + 3 + 2)."""
    options = {"method": "full", "epochs": 2, "optimizer": "sgd", "grad_clip": None, "model__dropout": 0.0}
    options |= {"class_weights": "balanced", "lr": 0.1, "head_lr": 0.1}
    whole, told = recorded(home, tmp_path / "whole", **options)
    parts, also = recorded(home, tmp_path / "parts", **options, micro_batch=3)
    assert also.losses == pytest.approx(told.losses, rel=1e-5)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["full", "last:2", "head"])
def test_longer_texts_in_a_pass_of_their_own_leave_the_update_as_it_is(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Computed plainly, played back with their tokens, and played back without: there no text is long."""
    parted: list[int] = []

    def passes(rows: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        found = training_passes(rows, lengths, fixed=1)
        parted.append(len(found))
        return found

    options = {"method": method, "epochs": 2, "optimizer": "sgd", "grad_clip": None, "model__dropout": 0.0}
    options |= {"class_weights": "balanced", "lr": 0.1, "head_lr": 0.1}
    whole, told = recorded(home, tmp_path / "whole", **options)
    monkeypatch.setattr("unfreeze.train.job.training_passes", passes)
    parts, also = recorded(home, tmp_path / "parts", **options)
    assert (max(parted, default=1) > 1) == (method != "head")
    assert also.losses == pytest.approx(told.losses, rel=1e-5)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, rtol=1e-4, atol=1e-6)


def test_rates_rise_and_fall_and_differ_by_group(home: Path, tmp_path: Path) -> None:
    run, told = recorded(home, tmp_path / "run", method="full", epochs=5, warmup=0.2, schedule="linear", head_lr=0.01)
    peak = max(told.rates)
    assert told.rates.index(peak) in (5, 6)
    assert peak == pytest.approx(0.01, rel=0.05)
    assert told.rates[:6] == sorted(told.rates[:6])
    assert told.rates[6:] == sorted(told.rates[6:], reverse=True)
    assert 0 < told.rates[-1] < 0.1 * peak
    assert [entry["lr"] for entry in run.result["history"]] == [told.rates[STEPS * n - 1] for n in range(1, 6)]


@pytest.mark.parametrize(
    ("phase", "group", "rate"),
    [
        (Phase(name="a", learn=("block", "head"), epochs=1), "head", 0.01),
        (Phase(name="a", learn=("block", "head"), epochs=1), "block", 0.001),
        (Phase(name="a", learn=("block", "head"), epochs=1), "stem", 0.0),
        (Phase(name="a", learn=("block", "head"), epochs=1, lr=0.5), "head", 0.5),
        (Phase(name="a", learn=("block", "head"), epochs=1, lr=0.5, scales={"block": 0.1}), "block", 0.05),
        (Phase(name="a", learn=("block", "head"), epochs=1, scales={"head": 0.5}), "head", 0.0005),
    ],
)
def test_the_head_has_its_own_rate_unless_the_phase_says_otherwise(phase: Phase, group: str, rate: float) -> None:
    training = TrainingRecipe(lr=0.001, head_lr=0.01)
    assert phase_rate(phase, group, "head", training) == pytest.approx(rate)


def test_the_optimizer_is_given_each_groups_rate(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[float]] = {}
    set_rates = loop.set_rates

    def watching(job: Any, optimizer: Any, phase: Phase, factor: float) -> float:
        top = set_rates(job, optimizer, phase, factor)
        for group in optimizer.param_groups:
            seen.setdefault(group["group"], set()).add(round(group["lr"] / max(factor, 1e-12), 9))
        return top

    monkeypatch.setattr(loop, "set_rates", watching)
    fit_text(home, tmp_path / "run", method="last:3", epochs=1, layer_decay=0.5, lr=0.004, head_lr=0.01)
    assert seen == {"block 1": {0.002}, "block 2": {0.004}, "head": {0.01}}


def test_parts_of_epochs_and_the_names_of_phases(home: Path, tmp_path: Path) -> None:
    phases = [{"learn": "head", "epochs": 1.5, "name": "warm"}, {"learn": "all", "epochs": 0.1}]
    run, told = recorded(home, tmp_path / "run", method=None, epochs=None, phases=phases)
    assert told.phases == [("warm", 9), ("all", 1)]
    assert len(told.losses) == 10
    assert [(entry["phase"], entry["step"]) for entry in run.result["history"]] == [
        ("warm", 6),
        ("warm", 9),
        ("all", 10),
    ]


def test_the_log_holds_what_was_told(home: Path, tmp_path: Path) -> None:
    run, told = recorded(home, tmp_path / "run", method="full", epochs=3)
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    assert lines == run.result["history"]
    assert [entry["epoch"] for entry in lines] == [1, 2, 3]
    assert min(told.losses[:STEPS]) < lines[0]["loss"] < max(told.losses[:STEPS])
    assert told.epochs[0]["accuracy"] == lines[0]["validation"]["accuracy"]


def test_without_validation_the_last_weights_are_kept(home: Path, tmp_path: Path) -> None:
    from small import read_table

    pairs = [(text, label) for text, label, split in read_table(home / "table.csv")]
    run = fit_text(home, tmp_path / "run", data=pairs, target=None, split=None, validation_share=0.0, epochs=2)
    assert run.result["validation"] == {}
    assert run.result["best_epoch"] in (0, 2)
    assert len(run.result["history"]) == 2


def test_early_stopping_ends_the_run_and_says_so(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", method="full", epochs=30, early_stopping=1, lr=1e-8, head_lr=1e-8)
    assert len(run.result["history"]) == 2
    assert run.result["stopped"] == "stopped early after epoch 2"
    assert [entry["unchanged"] for entry in run.result["ledger"]] == [True]


def test_a_loss_that_explodes_is_an_error_with_advice(home: Path, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"at update \d+ with a rate of .*Try a lower training.lr"):
        fit_text(
            home, tmp_path / "run", method="full", lr=1e30, head_lr=1e30, optimizer="sgd", grad_clip=None, epochs=4
        )
    assert read_json(tmp_path / "run" / "status.json")["status"] == "failed"


def test_gradients_are_clipped(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    update = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *arguments: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))
        return update(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    fit_text(home, tmp_path / "run", method="full", optimizer="sgd", grad_clip=0.01, epochs=1)
    assert len(norms) == STEPS
    assert max(norms) == pytest.approx(0.01, rel=1e-3)


class Telling(Hook):
    """Writes down at which point it was called."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        points = (
            "before_phase",
            "before_step",
            "after_backward",
            "after_step",
            "before_evaluation",
            "after_evaluation",
        )
        if name in (*points, "after_epoch"):
            self.told.append(name)
        return found


def test_hooks_are_called_in_this_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("unfreeze.api._hooks", lambda *_: [Telling(told)])
    fit_text(home, tmp_path / "run", method="head", epochs=1)
    update = ["before_step", "after_backward", "after_step"]
    assert told == ["before_phase", *update * STEPS, "before_evaluation", "after_evaluation", "after_epoch"]


def test_balanced_sampling_sees_every_class_equally_often(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from small import read_table, write_table

    rows = read_table(home / "table.csv")
    rare = [row for row in rows if row[1] != "bank" or row[2] != "train"]
    rare += [row for row in rows if row[1] == "bank" and row[2] == "train"][:3]
    write_table(tmp_path / "rare.csv", rare)
    seen: list[int] = []
    update = Training._update

    def watching(self: Training, phase: Any, steps: int, batch: list[int], replayed: Any) -> None:
        seen.extend(self.job.train.targets[torch.tensor(batch)].tolist())
        update(self, phase, steps, batch, replayed)

    monkeypatch.setattr(Training, "_update", watching)
    shares = {}
    for sampling in ("natural", "balanced"):
        seen.clear()
        options = {"epochs": 12, "method": "head", "sampling": sampling, "data": tmp_path / "rare.csv"}
        fit_text(home, tmp_path / sampling, **options)
        shares[sampling] = seen.count(0) / len(seen)
    assert shares["natural"] < 0.12
    assert 0.25 < shares["balanced"] < 0.42


def test_a_run_learns_something(home: Path, tmp_path: Path) -> None:
    """The cue words of the table are easy: what is wrong in the loop would show here."""
    run = fit_text(home, tmp_path / "run", method="full", epochs=25, lr=1e-2, head_lr=1e-2)
    losses = [entry["loss"] for entry in run.result["history"]]
    assert losses[-1] < 0.3 * losses[0]
    pictures = fit_images(home, tmp_path / "pictures", method="full", augment=[], epochs=10, lr=5e-3, head_lr=1e-2)
    assert pictures.result["history"][-1]["loss"] < 0.5 * pictures.result["history"][0]["loss"]
    assert pictures.result["validation"]["accuracy"]["value"] >= 0.75
