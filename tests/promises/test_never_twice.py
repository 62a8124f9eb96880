"""Promise 9: what is frozen is computed once; what is kept is keyed by content and checked against the plain model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small import fit_images, fit_text, read_table, weights, write_table
from torch import Tensor

from unfreeze.models.pretrained import Batch
from unfreeze.run import Run
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.stack.replay import Replay
from unfreeze.train import replaying
from unfreeze.train.loop import Training

EPOCHS, ROWS, HELD_OUT, BATCH = 6, 44, 18, 8


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is there beforehand, and reading is free: tiny layers are cheaper to compute than to read back."""
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})
    PROCESS_CACHE.clear()
    yield
    PROCESS_CACHE.clear()


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that went through the bottom block and the head while the loop ran."""
    rows: Counter[str] = Counter()
    run = Training.run

    def count(part: str) -> Any:
        return lambda module, inputs, output: rows.update({part: len(output)})

    def watched(self: Training) -> Any:
        module = self.job.working.module
        hooks = [
            module.get_submodule("backbone.encoder.layer.0.intermediate").register_forward_hook(count("block 0")),
            module.get_submodule("head").register_forward_hook(count("head")),
        ]
        try:
            return run(self)
        finally:
            for hook in hooks:
                hook.remove()

    monkeypatch.setattr(Training, "run", watched)
    return rows


def test_frozen_layers_see_each_row_once(home: Path, tmp_path: Path, passed: Counter[str]) -> None:
    run = fit_text(home, tmp_path / "run", method="head", epochs=EPOCHS)
    assert run.result["notes"] == []
    # Beyond once per row: a few small batches with which replay is tried and checked.
    probes = passed["block 0"] - (ROWS + HELD_OUT)
    assert 0 < probes <= 60
    assert passed["head"] >= EPOCHS * (ROWS + HELD_OUT)


def test_without_replay_they_see_it_in_every_epoch(home: Path, tmp_path: Path, passed: Counter[str]) -> None:
    fit_text(home, tmp_path / "run", method="head", epochs=EPOCHS, replay=False)
    assert passed["block 0"] == EPOCHS * (ROWS + HELD_OUT)


def test_a_second_run_computes_nothing_that_is_kept(home: Path, tmp_path: Path, passed: Counter[str]) -> None:
    """Another seed, rate and optimizer: the frozen part is the same function of the same rows."""
    fit_text(home, tmp_path / "one", method="head", epochs=EPOCHS)
    first = passed["block 0"]
    fit_text(home, tmp_path / "two", method="head", epochs=EPOCHS, lr=1e-4, optimizer="sgd", seed=1)
    assert passed["block 0"] - first == first - (ROWS + HELD_OUT)


CHANGES: dict[str, dict[str, Any]] = {
    "a text's length": {"model__max_length": 12},
    "one block less": {"model__drop_top": 1},
    "another frontier": {"method": "last:2"},
    "random weights": {
        "method": None,
        "epochs": None,
        "phases": [{"learn": "all", "epochs": 1}, {"learn": "head", "epochs": 4}],
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_kept_is_found_by_content(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    filled: list[int] = []
    fill = replaying._fill
    monkeypatch.setattr(
        replaying,
        "_fill",
        lambda job, levels, split, feed, views: filled.append(len(feed)) or fill(job, levels, split, feed, views),
    )
    fit_text(home, tmp_path / "one", method="head", epochs=4)
    assert filled == [ROWS, HELD_OUT]
    options = {"method": "head", "epochs": 4, **CHANGES[change]}
    kept = fit_text(home, tmp_path / "two", **options)
    assert filled == [ROWS, HELD_OUT] * 2
    fresh = fit_text(home, tmp_path / "three", **options, replay=False)
    same_to_rounding(kept, fresh)


@pytest.mark.parametrize("change", ["a word", "a space"])
def test_other_data_are_computed_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    filled: list[int] = []
    fill = replaying._fill
    monkeypatch.setattr(
        replaying,
        "_fill",
        lambda job, levels, split, feed, views: filled.append(len(feed)) or fill(job, levels, split, feed, views),
    )
    fit_text(home, tmp_path / "one", method="head")
    (text, label, split), *rest = read_table(home / "table.csv")
    other = f"{text} really" if change == "a word" else text.replace(" ", "  ", 1)
    write_table(tmp_path / "other.csv", [(other, label, split), *rest])
    fit_text(home, tmp_path / "two", method="head", data=tmp_path / "other.csv")
    assert filled == [ROWS, HELD_OUT] * 2


def same_to_rounding(one: Run, two: Run) -> None:
    """Losses within 1e-5 of each other, the same choices, nearly the same weights and figures."""
    for first, second in zip(one.result["history"], two.result["history"], strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
        for name, value in first["validation"].items():
            assert value == pytest.approx(second["validation"][name], rel=1e-4, abs=1e-6)
    assert one.result["best_epoch"] == two.result["best_epoch"]
    assert one.metrics == pytest.approx(two.metrics, rel=1e-4, abs=1e-6)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(two)[name], rtol=1e-3, atol=2e-5)


RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "head": (fit_text, {"method": "head", "epochs": 5, "optimizer": "sgd"}),
    "two blocks with dropout": (fit_text, {"method": "last:3", "epochs": 4, "model__dropout": 0.3, "optimizer": "sgd"}),
    "a middle block": (
        fit_text,
        {"method": None, "epochs": None, "optimizer": "sgd", "phases": [{"learn": "block 1", "epochs": 3}]},
    ),
    "phases": (fit_text, {"method": "gradual:3", "epochs": 6, "micro_batch": 3, "optimizer": "sgd"}),
    "pictures": (fit_images, {"method": "last:3", "epochs": 4, "augment": [], "optimizer": "sgd"}),
}


@pytest.mark.parametrize("name", RUNS)
def test_replayed_training_is_plain_training(home: Path, tmp_path: Path, name: str) -> None:
    fit, options = RUNS[name]
    replayed = fit(home, tmp_path / "replayed", **options)
    assert not any("computed plainly" in note for note in replayed.result["notes"])
    same_to_rounding(replayed, fit(home, tmp_path / "plain", **options, replay=False))


def spoiled(monkeypatch: pytest.MonkeyPatch, amount: float) -> None:
    """Every kept feature is a little wrong."""
    capture = replaying.capture_together

    def spoil(replays: Sequence[Replay], batch: Batch) -> list[list[Tensor]]:
        return [
            [kept + amount * torch.cos(torch.arange(kept.numel())).view_as(kept) for kept in features]
            for features in capture(replays, batch)
        ]

    monkeypatch.setattr(replaying, "capture_together", spoil)


def test_a_wrong_kept_value_is_caught_and_the_run_is_the_plain_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit_text(home, tmp_path / "plain", method="last:2", epochs=3, replay=False)
    with monkeypatch.context() as patch:
        spoiled(patch, 0.1)
        run = fit_text(home, tmp_path / "run", method="last:2", epochs=3)
    (note,) = run.result["notes"]
    assert "frozen layers are computed plainly: replayed outputs differ from the plain forward" in note
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(plain)[name]), name


def test_without_the_check_a_wrong_value_would_change_the_result(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fit_text(home, tmp_path / "plain", method="last:2", epochs=3, replay=False)
    spoiled(monkeypatch, 0.1)
    monkeypatch.setattr(replaying, "_verify", lambda replayed: None)
    run = fit_text(home, tmp_path / "run", method="last:2", epochs=3)
    assert not math.isclose(run.result["history"][-1]["loss"], plain.result["history"][-1]["loss"], rel_tol=1e-5)


def test_spoiled_features_are_not_kept_for_the_next_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed its check must not be found again by its key."""
    with monkeypatch.context() as patch:
        spoiled(patch, 0.1)
        fit_text(home, tmp_path / "one", method="last:2", epochs=3)
    run = fit_text(home, tmp_path / "two", method="last:2", epochs=3)
    assert run.result["notes"] == []
