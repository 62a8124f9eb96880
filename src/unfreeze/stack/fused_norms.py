"""Normalisation over the batch that stands still, computed by the convolution before it.

In eval mode it is a scale and a shift of each channel, which the convolution's weights can take over: a pass over every
feature map less. Which convolution is followed by which normalisation, and by nothing else, is seen in a forward pass;
nothing here knows an architecture. Weights are put back in the end.

Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
section 3.2 (https://arxiv.org/abs/1712.05877).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

WORTH = 32
"""Rows from which on the forward pass that looks costs less than it gains."""


@contextmanager
def fused_norms(module: nn.Module, forward: Callable[[], object]) -> Iterator[int]:
    """While it lasts, let convolutions compute what the normalisation behind them would.

    Parameters
    ----------
    module : nn.Module
        In eval mode; what is in training mode is left as it is.
    forward : callable
        Runs the module on one or two rows.

    Yields
    ------
    int
        How many norms are saved.
    """
    with ExitStack() as changes:
        pairs = _pairs(module, forward) if any(_is_still(child) for child in module.modules()) else []
        for conv, norm in pairs:
            changes.enter_context(_fused(conv, norm))
        yield len(pairs)


def _is_still(module: nn.Module) -> bool:
    """A norm over the batch whose statistics are given, and of which it is known what follows in it."""
    plain = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
    return plain and isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and not module.training


class _Watch(TorchFunctionMode):
    """Sees what is convolved and normalised, and how often each result of a convolution is read."""

    def __init__(self) -> None:
        super().__init__()
        self.convolved: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        """By the result's id: result, weight and bias, which must live so that no other tensor gets their ids."""
        self.normed: list[tuple[int, int]] = []
        """The ids of a convolution's result that is normalised and of the statistics that it is normalised with.

        Noted at once: another tensor may be freed, and a later result get its id.
        """
        self.reads: Counter[int] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(found)):  # else a shape or a type is read
            leaves = pytree.tree_leaves((args, kwargs))
            self.reads.update(id(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        if func is nn.functional.conv2d:
            self.convolved[id(found)] = found, args[1], args[2] if len(args) > 2 else None
            self.reads[id(found)] = 0  # what had this id before is gone
        elif func is nn.functional.batch_norm and id(args[0]) in self.convolved:
            self.normed.append((id(args[0]), id(args[1])))
        return found


def _pairs(module: nn.Module, forward: Callable[[], object]) -> list[tuple[nn.Module, nn.Module]]:
    """Convolutions whose result is read by one norm and by nothing else, each used once."""
    watch = _Watch()
    with torch.no_grad(), watch:
        forward()
    # A weight that is computed whenever it is asked for is another tensor each time, and cannot be replaced.
    layers = [child for child in module.modules() if isinstance(child, nn.Conv2d) and child.weight is child.weight]
    convs = {(id(layer.weight), id(layer.bias)): layer for layer in layers}
    norms = {id(child.running_mean): child for child in module.modules() if _is_still(child)}
    found: list[tuple[nn.Module, nn.Module]] = []
    for result, statistics in watch.normed:
        _, weight, bias = watch.convolved[result]
        conv = convs.get((id(weight), id(bias)))
        norm = norms.get(statistics)
        if conv is None or norm is None or watch.reads[result] > 1:
            continue
        if watch.reads[id(conv.weight)] == 1 and watch.reads[statistics] == 1:
            found.append((conv, norm))
    return found


@contextmanager
def _fused(conv: Any, norm: Any) -> Iterator[None]:
    weight, bias, given = conv.weight, conv.bias, norm.__dict__.get("forward")
    conv.weight, conv.bias = fuse_conv_bn_weights(
        weight, bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    norm.forward = _rest(norm)
    try:
        yield
    finally:
        conv.weight, conv.bias = weight, bias
        del norm.forward
        if given is not None:
            norm.forward = given


def _rest(norm: Any) -> Callable[[Tensor], Tensor]:
    """What a norm does besides: timm's has an activation in it."""
    if type(norm) is nn.BatchNorm2d:
        return lambda values: values
    return lambda values: norm.act(norm.drop(values))  # type: ignore[no-any-return]
