"""Architectures that cannot be replayed are found by trying, and refused with a reason; never replayed wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack
from unfreeze.stack.replay import Dimension, NotReplayable, Shape, Template, check_replay, prepare_replay

PATTERNS = [GroupPattern("stem", r"stem\."), GroupPattern("head", r"head\.")]
BATCHES = ({"x": torch.randn(3, 5)}, {"x": torch.randn(2, 9)})
"""Rows and "tokens": each token is a number here."""


class Toy(nn.Module):
    """Tokens through a stem to a head, in a way that a test chooses."""

    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(1, 4), nn.Linear(4, 2)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x.unsqueeze(-1))


def stack_of(way: Callable[[nn.Module, Tensor], Tensor]) -> LayerStack:
    return build_stack(Toy(way), PATTERNS)


def plain(toy: nn.Module, x: Tensor) -> Tensor:
    return toy.head(toy.stem(x)).mean(dim=1)  # type: ignore[no-any-return, operator]


def test_tokens_are_kept_without_their_padding_and_replayed_in_other_shapes() -> None:
    stack = stack_of(plain)
    replay = prepare_replay(stack, ("head",), *BATCHES)
    assert (replay.entry_name, replay.has_length()) == ("head", [True])
    other = {"x": torch.randn(6, 7)}
    assert torch.equal(replay.forward(other, replay.capture(other)), stack.module(**other))


def test_gradients_reach_what_learns_only() -> None:
    stack = stack_of(plain)
    replay = prepare_replay(stack, ("head",), *BATCHES)
    with torch.no_grad():
        kept = replay.capture(BATCHES[0])
    replay.forward(BATCHES[0], kept).sum().backward()
    assert stack.module.get_parameter("head.weight").grad is not None
    assert stack.module.get_parameter("stem.weight").grad is None


def reused(toy: nn.Module, x: Tensor) -> Tensor:
    return toy.head(toy.stem(x) + toy.stem(2 * x)).mean(dim=1)  # type: ignore[no-any-return, operator]


def passed_beside(toy: nn.Module, x: Tensor) -> Tensor:
    frozen = toy.stem(x)  # type: ignore[operator]
    return toy.head(frozen).mean(dim=1) + frozen.sum()  # type: ignore[no-any-return, operator]


def head_twice(toy: nn.Module, x: Tensor) -> Tensor:
    frozen = toy.stem(x)  # type: ignore[operator]
    return (toy.head(frozen) + toy.head(2 * frozen)).mean(dim=1)  # type: ignore[no-any-return, operator]


def loose_parameter(toy: nn.Module, x: Tensor) -> Tensor:
    return nn.functional.linear(toy.stem(x), toy.head.weight).mean(dim=1)  # type: ignore[operator, union-attr, arg-type]


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        (reused, "'stem' is called more than once"),
        (passed_beside, "differ from the plain forward"),
        (head_twice, "the first learning module is called more than once"),
        (loose_parameter, "no learning module is called"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_refused_with_a_reason(way: Callable[[nn.Module, Tensor], Tensor], reason: str) -> None:
    with pytest.raises(NotReplayable, match=reason):
        prepare_replay(stack_of(way), ("head",), *BATCHES)


def test_nothing_frozen_is_nothing_to_replay() -> None:
    with pytest.raises(NotReplayable, match="the lowest group learns"):
        prepare_replay(stack_of(plain), ("stem", "head"), *BATCHES)


def test_the_module_is_left_as_it_was() -> None:
    stack = stack_of(plain)
    stack.module.train()
    stack.module.get_submodule("stem").eval()
    replay = prepare_replay(stack, ("head",), *BATCHES)
    replay.forward(BATCHES[0], replay.capture(BATCHES[0]))
    assert stack.module.training
    assert not stack.module.get_submodule("stem").training
    assert all("forward" not in vars(module) for module in stack.module.modules())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in stack.module.modules())


def test_a_failing_forward_leaves_no_placeholder_behind() -> None:
    def fails_when_hollow(toy: nn.Module, x: Tensor) -> Tensor:
        frozen = toy.stem(x)  # type: ignore[operator]
        if not frozen.any():
            raise ValueError("zeros")
        return toy.head(frozen).mean(dim=1)  # type: ignore[no-any-return, operator]

    stack = stack_of(fails_when_hollow)
    with pytest.raises(NotReplayable, match="needs values of frozen layers"):
        prepare_replay(stack, ("head",), *BATCHES)
    assert all("forward" not in vars(module) for module in stack.module.modules())
    assert stack.module(**BATCHES[0]).shape == (3, 2)


def test_the_check_compares_relative_to_the_outputs_scale() -> None:
    stack = stack_of(plain)
    replay = prepare_replay(stack, ("head",), *BATCHES)
    with torch.no_grad():
        stack.module.get_parameter("stem.weight").add_(0.01)
        features = replay.capture(BATCHES[0])
        check_replay(replay, BATCHES[0], features)
        spoilt = [kept + 1e-3 for kept in features]
        with pytest.raises(NotReplayable, match="differ from the plain forward by"):
            check_replay(replay, BATCHES[0], spoilt)
        check_replay(replay, BATCHES[0], spoilt, tolerance=0.5)


def test_templates_know_rows_length_and_constants() -> None:
    template = Template(
        (Dimension(0, rows=1), Dimension(1, length=1), Dimension(4)), torch.float32, torch.device("cpu")
    )
    placeholder = template.placeholder(3, 7)
    assert placeholder.shape == (3, 8, 4)
    assert placeholder.untyped_storage().nbytes() == 4, "it takes no memory"
    assert (template.axis("rows"), template.axis("length")) == (0, 1)
    assert Shape.of({"x": torch.zeros(2, 9)}) == Shape(2, 9)
    assert Shape.of({"x": torch.zeros(2, 3, 8, 8)}) == Shape(2, 1)
