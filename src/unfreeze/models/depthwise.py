"""Depthwise convolutions whose gradients are fast in bfloat16 on a CPU, too.

torch's library computes most of them fast. For two it has no such code in bfloat16 and falls back to plain loops, which
take three to seventy times as long as in float32: the input's gradient where the window moves by more than one, and the
weights' where it is wider than three. Those are computed in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SLOW_STRIDE, SLOW_WINDOW = 2, 4
"""From which on."""

NEAR = 2**23
"""Bytes of one image's activations, or several's, that are written and read again before they leave the caches."""

_INPUT, _WEIGHT = (True, False, False), (False, True, False)


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, input: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        context.save_for_backward(input, weight)
        context.how = how
        return nn.functional.conv2d(input, weight, bias, *how)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        input, weight = context.saved_tensors
        tensors, how = (gradient, input, weight), context.how
        for_input = for_weight = for_bias = None
        if context.needs_input_grad[0]:
            slow = max(how[0]) >= SLOW_STRIDE
            for_input = _in_parts(*tensors, how) if slow else _gradients(tensors, how, _INPUT)[0]
        if context.needs_input_grad[1]:
            slow = max(weight.shape[2:]) >= SLOW_WINDOW
            exact = tuple(tensor.float() for tensor in tensors) if slow else tensors
            for_weight = _gradients(exact, how, _WEIGHT)[1].to(weight.dtype)
        if context.needs_input_grad[2]:
            for_bias = gradient.sum((0, 2, 3))
        return for_input, for_weight, for_bias, None, None, None, None


def _in_parts(gradient: Tensor, input: Tensor, weight: Tensor, how: tuple[Any, ...]) -> Tensor:
    """The input's gradient, in float32 for as many images at a time as stay near the processor."""
    found, whole = torch.empty_like(input), weight.float()
    images = max(1, NEAR // (4 * input[0].numel()))
    for start in range(0, len(input), images):
        part = slice(start, start + images)
        shape = torch.empty_like(input[part], dtype=torch.float32)  # its numbers are not read
        found[part] = _gradients((gradient[part].float(), shape, whole), how, _INPUT)[0]
    return found


def _gradients(tensors: tuple[Tensor, ...], how: tuple[Any, ...], which: tuple[bool, bool, bool]) -> tuple[Any, ...]:
    stride, padding, dilation, groups = how
    back = torch.ops.aten.convolution_backward
    found: tuple[Any, ...] = back(*tensors, None, stride, padding, dilation, False, (0, 0), groups, which)
    return found


class FastDepthwise(nn.Conv2d):
    """`nn.Conv2d` with one filter for each channel."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not torch.is_grad_enabled() or input.dtype != torch.bfloat16 or torch.compiler.is_compiling():
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        how = self.stride, self.padding, self.dilation, self.groups
        convolved: Tensor = _Convolved.apply(input, weight, bias, *how)
        return convolved


class FastDepthwiseSame(FastDepthwise):
    """The same for timm's `Conv2dSame`, which pads as TensorFlow does."""

    def forward(self, input: Tensor) -> Tensor:
        """The convolved input, as large as the input over the stride."""
        from timm.layers.padding import pad_same

        padded = pad_same(input, list(self.kernel_size), list(self.stride), list(self.dilation))
        return self._conv_forward(padded, self.weight, self.bias)


_FAST = {"Conv2d": FastDepthwise, "Conv2dSame": FastDepthwiseSame}


def convolve_fast(module: nn.Module) -> None:
    """Let every depthwise convolution of a module whose gradients are slow compute them fast, in place."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and type(child).__name__ in _FAST and _is_slow(child):
            child.__class__ = _FAST[type(child).__name__]


def _is_slow(layer: nn.Conv2d) -> bool:
    depthwise = 1 < layer.groups == layer.in_channels and layer.padding_mode == "zeros"
    known = not isinstance(layer.padding, str)
    return depthwise and known and (max(layer.stride) >= SLOW_STRIDE or max(layer.kernel_size) >= SLOW_WINDOW)
