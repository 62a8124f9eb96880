"""Losses weighted by group: what a row counts, the same however a batch is split, and after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small import KillAt, Killed, essence, fit_text, resume, sentences
from torch import Tensor

from unfreeze.data.slices import balancing
from unfreeze.errors import RecipeError
from unfreeze.tasks._task import Loss
from unfreeze.train.group_dro import GroupWeights
from unfreeze.train.hooks import LoopState
from unfreeze.train.worst_group import GroupedScorer

GROUPS = ["many"] * 9 + ["few"] * 3
LOOP: Any = LoopState(stack=None, working=None)  # type: ignore[arg-type]


def loss_of(rows: Tensor) -> Loss:
    return Loss(total=rows.sum(), weight=torch.tensor(float(len(rows))), rows=rows)


def update(hook: GroupWeights, losses: Tensor, parts: Sequence[Sequence[int]]) -> float:
    """One update as the loop makes it; the mean loss of the batch."""
    hook.before_step(LOOP)
    found = [hook.weigh(LOOP, rows, loss_of(losses[list(rows)])) for rows in parts]
    hook.after_backward(LOOP)
    return float(sum(loss.total for loss in found) / sum(loss.weight for loss in found))


def test_groups_count_alike() -> None:
    losses = torch.tensor([1.0] * 9 + [5.0] * 3)
    assert update(GroupWeights(GROUPS), losses, [range(12)]) == pytest.approx((1 + 5) / 2)


def test_rows_that_are_drawn_alike_by_group_count_once() -> None:
    hook = GroupWeights(GROUPS, balancing(GROUPS))
    losses = torch.rand(12)
    weighed = hook.weigh(LOOP, range(12), loss_of(losses))
    torch.testing.assert_close(weighed.rows, losses)


def test_a_batch_counts_the_same_in_parts() -> None:
    torch.manual_seed(0)
    whole, parts = GroupWeights(GROUPS, step=0.3), GroupWeights(GROUPS, step=0.3)
    for _ in range(4):
        losses = torch.rand(12) * 3
        one = update(whole, losses, [range(12)])
        other = update(parts, losses, [range(5), range(5, 6), range(6, 12)])
        assert one == pytest.approx(other, rel=1e-6)
    torch.testing.assert_close(whole.log_weights, parts.log_weights)


def test_the_group_with_the_larger_loss_comes_to_count_more() -> None:
    hook = GroupWeights(GROUPS, step=0.1)
    for _ in range(10):
        update(hook, torch.tensor([1.0] * 9 + [2.0] * 3), [range(12)])
    # q ∝ exp(steps · η · loss): here the ratio is exp(10 · 0.1 · (2 - 1)).
    assert hook.weights["few"] / hook.weights["many"] == pytest.approx(2.718281828, rel=1e-4)
    assert sum(hook.weights.values()) == pytest.approx(1)


def test_rare_groups_move_as_fast_as_frequent_ones() -> None:
    """With equal losses weights stay equal, though most batches hold no row of the rare group."""
    groups = ["many"] * 95 + ["few"] * 5
    hook = GroupWeights(groups, step=0.01)
    draw = torch.Generator().manual_seed(0)
    for _ in range(400):
        rows = torch.randint(0, 100, (8,), generator=draw).tolist()
        update(hook, torch.ones(100), [rows])
    assert hook.weights["few"] == pytest.approx(0.5, abs=0.15)


def test_without_a_step_weights_stay() -> None:
    hook = GroupWeights(GROUPS)
    update(hook, torch.tensor([1.0] * 9 + [9.0] * 3), [range(12)])
    assert hook.weights == pytest.approx({"many": 0.5, "few": 0.5})


def test_passes_that_failed_leave_nothing() -> None:
    once, again = GroupWeights(GROUPS, step=0.5), GroupWeights(GROUPS, step=0.5)
    losses = torch.rand(12)
    update(once, losses, [range(12)])
    again.before_step(LOOP)
    again.weigh(LOOP, range(7), loss_of(losses[:7] * 100))
    again.retry(LOOP)
    again.weigh(LOOP, range(12), loss_of(losses))
    again.after_backward(LOOP)
    torch.testing.assert_close(once.log_weights, again.log_weights)


def test_state_comes_back() -> None:
    one, other = GroupWeights(GROUPS, step=0.5), GroupWeights(GROUPS, step=0.5)
    update(one, torch.rand(12), [range(12)])
    other.restore(one.state())
    assert other.weights == one.weights


def test_a_loss_without_rows_is_refused() -> None:
    with pytest.raises(RecipeError, match="for each row"):
        GroupWeights(GROUPS).weigh(LOOP, [0], Loss(torch.tensor(1.0), torch.tensor(1.0)))


# ------------------------------------------------------------------------------------------------- in whole runs


def rows(count: int = 80) -> list[dict[str, str]]:
    splits = ("train", "train", "validation", "test")
    return [
        {"text": text, "label": label, "split": splits[number % 4], "style": "ab"[number % 5 == 0]}
        for number, (text, label) in enumerate(sentences(count))
    ]


EVERYTHING: dict[str, Any] = {
    "data": rows(),
    "slices": ["style"],
    "group_dro": 0.2,
    "epochs": 3,
    "method": "lp-ft",
    "checkpoint_steps": 3,
    "micro_batch": 3,
    "report": False,
}


def test_interrupted_is_uninterrupted(home: Path, tmp_path: Path) -> None:
    options = {**EVERYTHING, "sampling": "group-balanced", "evaluation__metric": "worst_group_accuracy"}
    whole = fit_text(home, tmp_path / "whole", **options)
    for update_ in (4, 7):
        again = partial(resume, tmp_path / "cut", data=options["data"])
        begin = again if update_ > 4 else partial(fit_text, home, tmp_path / "cut", **options)
        with pytest.raises(Killed):
            begin(progress=KillAt(update_))
    resume(tmp_path / "cut", data=options["data"])
    assert essence(tmp_path / "cut") == essence(whole.path)
    assert "worst_group_accuracy" in whole.result["test"]


def test_replay_changes_nothing(home: Path, tmp_path: Path) -> None:
    options = {**EVERYTHING, "class_weights": "group-balanced", "method": "head"}
    with_, without = (
        fit_text(home, tmp_path / str(replay), replay=replay, **options).result["history"] for replay in (True, False)
    )
    for one, other in zip(with_, without, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no slices": ({"sampling": "group-balanced"}, "training.sampling=group-balanced: expected columns"),
    "no slices for DRO": ({"group_dro": 0.1}, "method.group_dro: expected columns"),
    "no slices for the metric": ({"metric": "worst_group_accuracy"}, "evaluation.metric=worst_group_accuracy"),
    "an unknown group": ({"slices": ["style"], "groups": ["stlye"]}, "Did you mean 'style'"),
    "mixed rows": ({"slices": ["style"], "group_dro": 0.1, "augment": ["mixup:0.2"]}, "mixes rows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_before_anything_is_trained(home: Path, tmp_path: Path, name: str) -> None:
    options, said = WRONG[name]
    with pytest.raises(RecipeError, match=said):
        fit_text(home, tmp_path / "run", data=rows(), **options)


def test_the_plan_says_which_groups(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", data=rows(), slices=["style"], epochs=1, report=False)
    text = (run.path / "recipe.resolved.yaml").read_text()
    assert run.recipe.training.groups == ["style"]
    assert "groups of training rows, the smallest of" in text


# --------------------------------------------------------------------------------------------- the worst group


class Counting:
    def update(self, outputs: Tensor, targets: Tensor) -> None: ...

    def compute(self) -> dict[str, float]:
        return {"accuracy": 0.5}

    def intervals(self, resamples: int, seed: int) -> dict[str, tuple[float, float]]:
        return {"accuracy": (0.4, 0.6)} if resamples else {}


def scored(groups: list[str], right: list[bool]) -> GroupedScorer:
    scorer = GroupedScorer(Counting(), groups)
    outputs = torch.eye(2)[torch.tensor([0 if hit else 1 for hit in right])]
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(0)).tolist()
    for start in range(0, len(order), 7):
        some = order[start : start + 7]
        scorer.see(some, outputs[some], torch.zeros(len(some), dtype=torch.long))
    return scorer


def test_the_worst_group_is_told_with_its_interval() -> None:
    scorer = scored(["a"] * 40 + ["b"] * 40, [True] * 30 + [False] * 10 + [True] * 39 + [False])
    assert scorer.compute() == {"accuracy": 0.5, "worst_group_accuracy": 0.75}
    low, high = scorer.intervals(500, 0)["worst_group_accuracy"]
    assert 0.55 < low < 0.75 < high < 0.92
    assert scorer.intervals(0, 0) == {}


def test_few_rows_do_not_choose_the_worst() -> None:
    scorer = scored(["a"] * 20 + ["b"] * 3, [True] * 15 + [False] * 5 + [False] * 3)
    assert scorer.compute()["worst_group_accuracy"] == 0.75
    assert scored(["a"] * 4 + ["b"] * 2, [True] * 4 + [False, True]).compute()["worst_group_accuracy"] == 0.5
