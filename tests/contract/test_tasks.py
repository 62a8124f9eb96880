"""What every task promises, whichever file it stands in."""

from __future__ import annotations

import pytest
import torch

from unfreeze.data.manifest import Manifest
from unfreeze.tasks import TASKS
from unfreeze.tasks._task import LossOptions

NAMES = TASKS.names()
TARGETS = {
    "classification": ["a", "b", "c", "a"],
    "multilabel": [("a",), ("b", "c"), (), ("a", "b")],
    "regression": [1.0, 2.5, -3.0, 4.0],
}


@pytest.fixture
def manifest() -> Manifest:
    return Manifest("s", "text", "t", "", (), ("a", "b", "c"), {}, {}, "", "f")


def targets_of(name: str) -> list[object]:
    if name not in TARGETS:
        pytest.fail(f"add targets for the task '{name}' to this test")
    return TARGETS[name]  # type: ignore[return-value]


def test_the_three_tasks_are_there() -> None:
    assert {"classification", "multilabel", "regression"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card_and_name(name: str) -> None:
    task = TASKS.get(name)
    assert task.name == name
    assert all((task.card.what, task.card.when, task.card.cost, task.card.evidence, task.card.source))


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_can_be_learned_from(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    targets = torch.stack([task.encode(target, manifest) for target in targets_of(name)])  # type: ignore[arg-type]
    for kind in task.losses:
        outputs = torch.zeros(len(targets), task.outputs(manifest), requires_grad=True)
        optimizer = torch.optim.Adam([outputs], lr=0.1)
        losses = []
        for _ in range(60):
            loss = task.loss(outputs, targets, LossOptions(kind))
            losses.append(float(loss.total.detach() / loss.weight))
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
        assert float(loss.weight) == len(targets)
        assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_none_is_the_first_loss(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    targets = torch.stack([task.encode(target, manifest) for target in targets_of(name)])  # type: ignore[arg-type]
    outputs = torch.randn(len(targets), task.outputs(manifest))
    default, first = (task.loss(outputs, targets, LossOptions(kind)).total for kind in (None, task.losses[0]))
    assert torch.equal(default, first)


@pytest.mark.parametrize("name", NAMES)
def test_softened_targets_give_the_same_loss(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    targets = torch.stack([task.encode(target, manifest) for target in targets_of(name)])  # type: ignore[arg-type]
    outputs = torch.randn(len(targets), task.outputs(manifest))
    soft = task.soften(targets, manifest)
    assert soft.is_floating_point()
    hard, softened = (task.loss(outputs, which, LossOptions()).total for which in (targets, soft))
    torch.testing.assert_close(hard, softened)


@pytest.mark.parametrize("name", NAMES)
def test_scores_decoding_and_baseline_fit_together(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    raw = targets_of(name)
    targets = torch.stack([task.encode(target, manifest) for target in raw])  # type: ignore[arg-type]
    title, row = task.baseline(raw, manifest)  # type: ignore[arg-type]
    outputs = row.expand(len(raw), -1)
    scorer = task.scorer(manifest)
    scorer.update(outputs, targets)
    metrics = scorer.compute()
    assert title
    assert task.default_metric(manifest) in metrics
    assert all(isinstance(task.higher_is_better(metric), bool) for metric in metrics)
    assert [set(decoded) >= {"prediction"} for decoded in task.decode(outputs, manifest)] == [True] * len(raw)
    assert "\n" not in task.show(outputs[0], targets[0], manifest)


@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_model_is_best_in_every_metrics_direction(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    targets = torch.stack([task.encode(target, manifest) for target in targets_of(name)])  # type: ignore[arg-type]
    soft = task.soften(targets, manifest)
    perfect = soft[:, None] if name == "regression" else (soft - 0.5) * 40
    figures = []
    for outputs in (perfect, perfect.roll(1, 0)):
        scorer = task.scorer(manifest)
        scorer.update(outputs, targets)
        figures.append(scorer.compute())
    for metric, value in figures[0].items():
        assert (value > figures[1][metric]) is task.higher_is_better(metric)


@pytest.mark.parametrize("name", NAMES)
def test_scorers_take_half_precision(name: str, manifest: Manifest) -> None:
    task = TASKS.get(name)
    targets = torch.stack([task.encode(target, manifest) for target in targets_of(name)])  # type: ignore[arg-type]
    scorer = task.scorer(manifest)
    scorer.update(torch.randn(len(targets), task.outputs(manifest)).bfloat16(), targets)
    assert scorer.compute()
