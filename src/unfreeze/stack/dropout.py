"""Dropout with masks that are drawn fast on a CPU.

torch draws one number of its Mersenne twister for each element, one after the other: on a small transformer that is a
sixth of a training step. Here sixteen bits decide on an element, of a generator that makes 64 at a time, and the mask
is applied to the numbers' bits. The distribution is the same up to the rate's rounding to 1/65536; the numbers follow
from torch's global generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEVELS = 1 << 16

_BITS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
_NUMPY = {torch.int32: np.int32, torch.int16: np.int16}


def drawn_mask(shape: torch.Size, rate: float, bits: torch.dtype) -> Tensor:
    """Integers of that type and shape: all bits set where an element is kept, none where it is dropped."""
    count = shape.numel()
    seed = int(torch.randint(2**62, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    kept = (drawn >= round(rate * LEVELS)).view(np.int8).astype(_NUMPY[bits])
    return torch.from_numpy(np.negative(kept, out=kept)).view(shape)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, input: Tensor, rate: float) -> Tensor:
        bits = _BITS[input.dtype]
        mask = drawn_mask(input.shape, rate, bits)
        context.scale = 1 / (1 - rate)
        context.save_for_backward(mask)
        return _masked(input, mask, context.scale)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (mask,) = context.saved_tensors
        return _masked(gradient, mask, context.scale), None


def _masked(values: Tensor, mask: Tensor, scale: float) -> Tensor:
    return (values * scale).contiguous().view(mask.dtype).bitwise_and_(mask).view(values.dtype)


def dropout(input: Tensor, rate: float, training: bool = True) -> Tensor:
    """Zero each element with probability `rate` and scale the rest by 1 / (1 - rate), on a CPU with fast masks."""
    fast = input.device.type == "cpu" and input.dtype in _BITS and 0 < rate < 1
    if training and fast and not torch.compiler.is_compiling():
        dropped: Tensor = _Dropped.apply(input, rate)
        return dropped
    return nn.functional.dropout(input, rate, training)


class FastDropout(nn.Dropout):
    """`nn.Dropout` by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with some elements dropped, in training."""
        return dropout(input, self.p, self.training)


def draw_fast(module: nn.Module) -> None:
    """Let every `nn.Dropout` of a module draw its masks fast, in place."""
    for child in module.modules():
        if type(child) is nn.Dropout:
            child.__class__ = FastDropout
