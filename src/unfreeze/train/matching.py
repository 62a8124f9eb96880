"""How far the network's features have moved from what it made of the same rows before it learned, and the pull back.

Features are what enters the head: all that a head of any task could use. Their squared distance is told as a share of
how far rows lie apart, so that 1 is as far off as another row's features, whatever the network and its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from unfreeze.train.distillation import head_of
from unfreeze.train.feed import Feed
from unfreeze.train.hooks import LoopState
from unfreeze.train.memory import Portions
from unfreeze.train.order import reading_batches

Pairs = Sequence[tuple[nn.Parameter, nn.Parameter]]
"""Parameters of the master, each with the one that computes for it; in float32 they are the same."""


def learns_below_the_head(loop: LoopState) -> bool:
    """Whether features can move in this phase."""
    assert loop.phase is not None
    return any(name != loop.stack.names[-1] for name in loop.phase.learn)


def below_the_head(loop: LoopState, groups: Sequence[str]) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """The parameters of these groups without the head's, by full name, each with the one that computes for it."""
    found: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
    for group in groups:
        if group != loop.stack.names[-1]:
            both = zip(
                loop.stack.parameters(loop.stack.group(group)),
                loop.working.parameters(loop.working.group(group)),
                strict=True,
            )
            found |= {name: (whole, mine) for (name, whole), (_, mine) in both}
    return found


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While this lasts, dropout is off and BatchNorm's statistics stand still."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def features(loop: LoopState, feed: Feed, rows: Sequence[int]) -> Tensor:
    """What enters the head for these rows as they are, without augmentation: float32 of shape (rows, width)."""
    seen: list[Tensor] = []
    handle = head_of(loop).register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    try:
        loop.working.module(**loop.laid_out(feed.batch(rows)))
    finally:
        handle.remove()
    return seen[0].float()


@torch.no_grad()
def all_features(loop: LoopState, feed: Feed, batch_size: int) -> Tensor:
    """`features` of every row of a feed in eval mode, on the CPU."""
    portions = Portions()
    found = torch.empty(len(feed), head_of(loop).in_features)
    with evaluating(loop.working.module):
        for batch in reading_batches(feed.lengths, batch_size):
            for rows, values in portions.each(batch, partial(features, loop, feed)):
                found[torch.tensor(rows)] = values.cpu()
    return found


def spread(wanted: Tensor) -> float:
    """The mean squared distance of rows of features from their mean."""
    return max(float((wanted - wanted.mean(dim=0)).square().sum(dim=1).mean()), torch.finfo(torch.float32).tiny)


def distances(found: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """‖f - f⁰‖² of each row, in units of the spread; shape (rows,)."""
    return (found - wanted.to(found.device)).square().sum(dim=1) / scale


def pull(pairs: Pairs, rows: Sequence[int], portions: Portions, value: Callable[[Sequence[int]], Tensor]) -> None:
    """Add the gradient of a sum over rows to the master's gradients, in as many passes as memory asks for.

    Nothing is accumulated in the network that computes, so that a pass that failed has left nothing.
    """
    mine = [parameter for _, parameter in pairs]

    def gradients(part: Sequence[int]) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(value(part), mine, allow_unused=True)

    for _, found in portions.each(rows, gradients):
        for (whole, _), gradient in zip(pairs, found, strict=True):
            if gradient is None:
                continue
            if whole.grad is None:
                whole.grad = gradient.to(whole.dtype)
            else:
                whole.grad += gradient
