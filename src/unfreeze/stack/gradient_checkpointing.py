"""Gradient checkpointing: blocks forget what they computed, and compute it again in the backward pass.

The random numbers of the second computation are those of the first, and BatchNorm's statistics move in the first only,
so that gradients and buffers are the same to the bit. Activations then grow with one block and not with all of them,
for about a third more arithmetic.

Source: Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unfreeze.stack.groups import LayerStack


def blocks(stack: LayerStack) -> list[nn.Module]:
    """The modules of layer groups that are made of several layers, without the head's; [] where groups are flat."""
    found = {name: module for group in stack.groups[:-1] for name, module in stack.surroundings(group)}
    return [
        block
        for module in found.values()
        for block in _called(module)
        if sum(any(True for _ in child.parameters(recurse=False)) for child in block.modules()) > 1
    ]


def recompute(stack: LayerStack) -> None:
    """Let the blocks of a stack compute their activations again in the backward pass, in place."""
    for block in blocks(stack):
        block.__dict__["forward"] = _recomputing(block)


@contextmanager
def recomputing(stack: LayerStack) -> Iterator[None]:
    """`recompute`, while this lasts."""
    changed = [(block, block.__dict__.get("forward")) for block in blocks(stack)]
    recompute(stack)
    try:
        yield
    finally:
        for block, before in changed:
            del block.__dict__["forward"]
            if before is not None:
                block.__dict__["forward"] = before


def _called(module: nn.Module) -> Iterator[nn.Module]:
    """The module, or what it lists if it is a list, which is never called itself."""
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        for child in module.children():
            yield from _called(child)
    else:
        yield module


def _recomputing(block: nn.Module) -> Callable[..., Any]:
    forward = block.forward
    norms = [child for child in block.modules() if isinstance(child, _BatchNorm)]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _standing_still(norms)

    def compute(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return compute


@contextmanager
def _standing_still(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """While this lasts, batches are normalised as ever but move copies of the running statistics."""
    before = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: None if value is None else value.clone() for name, value in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, before, strict=True):
            norm._buffers.update(buffers)
