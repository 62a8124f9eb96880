from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unfreeze.data.manifest import Manifest
from unfreeze.errors import RecipeError
from unfreeze.tasks import TASKS
from unfreeze.tasks._losses import parse_loss
from unfreeze.tasks._task import LossOptions

LABELS = ("a", "b", "c", "d")


def manifest(labels: tuple[str, ...] = LABELS) -> Manifest:
    return Manifest("s", "text", "t", "", (), labels, {}, {}, "", "f", target_mean=10.0, target_scale=4.0)


def mean(task: str, outputs: torch.Tensor, targets: torch.Tensor, **options: object) -> torch.Tensor:
    loss = TASKS.get(task).loss(outputs, targets, LossOptions(**options))  # type: ignore[arg-type]
    return loss.total / loss.weight


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 4, generator=generator), torch.randint(0, 4, (12,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(batch: tuple[torch.Tensor, torch.Tensor], smoothing: float) -> None:
    outputs, targets = batch
    expected = functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    torch.testing.assert_close(mean("classification", outputs, targets, label_smoothing=smoothing), expected)


def test_soft_targets_are_torchs_and_one_hot_equals_hard(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, targets = batch
    soft = TASKS.get("classification").soften(targets, manifest())
    torch.testing.assert_close(mean("classification", outputs, soft), mean("classification", outputs, targets))
    mixed = 0.3 * soft + 0.7 * soft.flip(0)
    torch.testing.assert_close(mean("classification", outputs, mixed), functional.cross_entropy(outputs, mixed))


def test_class_weights_are_torchs_up_to_the_divisor(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, targets = batch
    weights = torch.tensor([0.5, 1.0, 2.0, 0.7])
    expected = functional.cross_entropy(outputs, targets, weight=weights, reduction="sum") / len(targets)
    torch.testing.assert_close(mean("classification", outputs, targets, class_weights=weights), expected)


def test_a_batch_of_one_class_keeps_its_weight() -> None:
    outputs, targets = torch.zeros(2, 4), torch.tensor([2, 2])
    plain = mean("classification", outputs, targets)
    weighted = mean("classification", outputs, targets, class_weights=torch.tensor([1.0, 1.0, 3.0, 1.0]))
    torch.testing.assert_close(weighted, 3 * plain)


@pytest.mark.parametrize(("task", "plain"), [("classification", "cross-entropy"), ("multilabel", "bce")])
def test_focal_with_gamma_0_is_cross_entropy(batch: tuple[torch.Tensor, torch.Tensor], task: str, plain: str) -> None:
    outputs, targets = batch
    soft = functional.one_hot(targets, 4).float() * 0.8 + 0.05
    torch.testing.assert_close(mean(task, outputs, soft, name="focal:0"), mean(task, outputs, soft, name=plain))


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_focal_continues_to_gamma_0(batch: tuple[torch.Tensor, torch.Tensor], task: str) -> None:
    outputs, targets = batch
    soft = functional.one_hot(targets, 4).float()
    torch.testing.assert_close(
        mean(task, outputs, soft, name="focal:1e-6"), mean(task, outputs, soft, name="focal:0"), rtol=1e-4, atol=1e-5
    )


def test_focal_is_the_papers_formula(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, targets = batch
    p = outputs.softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(mean("classification", outputs, targets, name="focal"), -((1 - p) ** 2 * p.log()).mean())
    torch.testing.assert_close(
        mean("classification", outputs, targets, name="focal:1.5"), -((1 - p) ** 1.5 * p.log()).mean()
    )


@pytest.mark.parametrize("name", ["focal", "focal:0.5"])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_focal_has_finite_gradients_when_the_model_is_sure(name: str, task: str) -> None:
    outputs = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    mean(task, outputs, torch.tensor([[1.0, 0.0], [1.0, 0.0]]), name=name).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_binary_cross_entropy_is_torchs(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, targets = batch
    many = (torch.arange(4) <= targets[:, None]).float()
    expected = functional.binary_cross_entropy_with_logits(outputs, many)
    torch.testing.assert_close(mean("multilabel", outputs, many), expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mse", functional.mse_loss),
        ("mae", functional.l1_loss),
        ("huber", functional.huber_loss),
        ("huber:2", lambda a, b: functional.huber_loss(a, b, delta=2.0)),
    ],
)
def test_regression_losses_are_torchs(name: str, expected: object) -> None:
    generator = torch.Generator().manual_seed(1)
    outputs, targets = torch.randn(9, 1, generator=generator) * 3, torch.randn(9, generator=generator)
    torch.testing.assert_close(mean("regression", outputs, targets, name=name), expected(outputs[:, 0], targets))


@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from(["classification", "multilabel", "regression"]),
    cuts=st.sets(st.integers(1, 11), max_size=5),
    smoothing=st.sampled_from([0.0, 0.1]),
    weighted=st.booleans(),
    which=st.integers(0, 5),
)
def test_micro_batches_add_up_to_the_whole_batch(
    task: str, cuts: set[int], smoothing: float, weighted: bool, which: int
) -> None:
    generator = torch.Generator().manual_seed(which)
    chosen = TASKS.get(task)
    width = chosen.outputs(manifest())
    outputs = torch.randn(12, width, generator=generator).double().requires_grad_()
    shape, top = {"classification": ((12,), 4), "multilabel": ((12, 4), 2), "regression": ((12,), 9)}[task]
    targets = torch.randint(0, top, shape, generator=generator)
    targets = targets if task == "classification" else targets.double()
    weights = torch.tensor([0.2, 1.0, 3.0, 0.7]) if weighted else None
    options = LossOptions(chosen.losses[which % len(chosen.losses)], smoothing, weights)

    def gradient(edges: list[int]) -> torch.Tensor:
        parts = [chosen.loss(outputs[low:high], targets[low:high], options) for low, high in itertools.pairwise(edges)]
        weight = sum(float(part.weight) for part in parts)
        for part in parts:
            (part.total / weight).backward(retain_graph=True)
        grad, outputs.grad = outputs.grad, None
        assert grad is not None
        return grad

    torch.testing.assert_close(gradient([0, *sorted(cuts), 12]), gradient([0, 12]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("crossentropy", "Did you mean 'cross-entropy'?"),
        ("focal:x", "number"),
        ("focal:-1", "at least 0"),
        ("focal:nan", "number"),
        ("cross-entropy:2", "takes no number"),
    ],
)
def test_bad_losses_are_named(name: str, part: str) -> None:
    with pytest.raises(RecipeError, match=r"training\.loss") as caught:
        parse_loss(name, TASKS.get("classification").losses)
    assert part in str(caught.value)


def test_huber_refuses_zero() -> None:
    with pytest.raises(RecipeError, match="greater than 0"):
        parse_loss("huber:0", TASKS.get("regression").losses)
