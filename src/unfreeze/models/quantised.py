"""Linear layers whose frozen weights are kept in 8 or 4 bits, and made whole again for each product.

Both codes are pure functions of the weights, made of elementwise operations: every machine and device gets the same
numbers from the same weights, so that a saved model needs to hold none of them. Products take the time of plain ones
and that of making the weights whole; what is saved is memory.

Source: Dettmers et al. 2023, QLoRA, arXiv:2305.14314: blocks of 64, each with its largest weight as scale, and 4-bit
NormalFloat; without its second quantisation, of the scales: bitsandbytes' codes, which makes them whole where it is
installed. The 8 bits are even steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.models.nf4_kernels import kernel

BLOCK = 64
"""Weights that share a scale."""

STEPS = 127
"""Of an 8-bit weight, to either side of zero."""

NORMAL_FLOAT = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The sixteen values of a 4-bit weight: QLoRA's appendix E, quantiles of a normal distribution with an exact zero."""


def encode(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole weights of shape (outputs, inputs) to codes (int8) and scales (float32).

    Rows follow each other, and each 64 weights are a block with a scale of its own, so that one large weight spoils 63
    others only; the last block is filled up with zeros. Codes have the shape (blocks, 64), or in 4 bits, where two
    weights share a byte, (blocks, 32); scales have the shape (blocks, 1).
    """
    flat = weight.detach().float().flatten()
    blocks = nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    relative = blocks / torch.where(largest == 0, 1.0, largest)
    if bits == 8:
        return (relative * STEPS).round().to(torch.int8), largest / STEPS
    levels = torch.tensor(NORMAL_FLOAT, device=weight.device)
    places = torch.bucketize(relative, (levels[1:] + levels[:-1]) / 2)
    return (places[:, 0::2] * 16 + places[:, 1::2]).to(torch.uint8).view(torch.int8), largest


def decode(codes: Tensor, scales: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Whole weights of that shape and type."""
    if codes.shape[1] == BLOCK:
        blocks = codes.to(dtype) * scales.to(dtype)
    elif (fast := kernel(codes.device.type)) is not None:
        blocks = fast(codes, scales, dtype)
    else:
        blocks = from_pairs(codes, scales, dtype)
    return blocks.flatten()[: shape[0] * shape[1]].view(shape)


def from_pairs(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """4-bit codes of shape (blocks, 32) to weights of shape (blocks, 64)."""
    # Two numbers are looked up at once, as the one that their bytes are together.
    blocks = _pairs(codes.device)[codes.view(torch.uint8).int()].view(torch.float32)
    return (blocks * scales).to(dtype)


@lru_cache(maxsize=8)
def _pairs(device: torch.device) -> Tensor:
    """What each of the 256 bytes of 4-bit codes stands for."""
    levels = torch.tensor(NORMAL_FLOAT, device=device)
    return torch.cartesian_prod(levels, levels).view(torch.int64).flatten()


class _Product(torch.autograd.Function):
    """input · weightᵀ, of which the backward pass keeps codes only and makes the weights whole once more."""

    @staticmethod
    def forward(context: Any, input: Tensor, codes: Tensor, scales: Tensor, shape: tuple[int, int]) -> Tensor:
        context.save_for_backward(codes, scales)
        context.shape = shape
        return nn.functional.linear(input, decode(codes, scales, shape, input.dtype))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        codes, scales = context.saved_tensors
        return gradient @ decode(codes, scales, context.shape, gradient.dtype), None, None, None


class QuantisedLinear(nn.Linear):
    """A linear layer with frozen weights of 8 or 4 bits; its bias stays as it was.

    The codes are the buffer `W_q`, by which peft knows that they have to be made whole for DoRA. `weight` shows them,
    for models that look at its type.

    Parameters
    ----------
    layer : nn.Linear, or transformers' Conv1D, whose weights have the shape (inputs, outputs)
    bits : 8 or 4
    """

    def __init__(self, layer: nn.Module, bits: int) -> None:
        nn.Module.__init__(self)
        self.transposed = not isinstance(layer, nn.Linear)
        whole: Tensor = layer.weight.T if self.transposed else layer.weight  # type: ignore[assignment, operator]
        self.out_features, self.in_features = whole.shape
        codes, scales = encode(whole, bits)
        self.register_buffer("W_q", codes)
        self.register_buffer("scales", scales)
        self.register_parameter("bias", layer.bias)  # type: ignore[arg-type]
        self.quantised_weights = whole.numel()
        self.train(layer.training)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The codes."""
        return self._buffers["W_q"]  # type: ignore[return-value]

    def dequantize(self) -> Tensor:
        """The weights whole, of shape (outputs, inputs), in float32."""
        return decode(self.W_q, self.scales, self._shape, torch.float32)  # type: ignore[arg-type]

    @property
    def _shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    def forward(self, input: Tensor) -> Tensor:
        """As a linear layer, in the input's type."""
        outputs: Tensor = _Product.apply(input, self.W_q, self.scales, self._shape)
        return outputs if self.bias is None else outputs + self.bias.to(outputs.dtype)


def quantise(module: nn.Module, names: list[str], bits: int) -> None:
    """Keep the weights of these linear layers in so many bits, in place."""
    for name in names:
        module.set_submodule(name, QuantisedLinear(module.get_submodule(name), bits))


def dequantise(module: nn.Module) -> list[str]:
    """Plain linear layers instead of quantised ones, in place; returns the names of those that were transposed."""
    transposed = []
    for name, layer in list(module.named_modules()):
        if isinstance(layer, QuantisedLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
            plain.weight = nn.Parameter(layer.dequantize())
            plain.bias = layer.bias
            module.set_submodule(name, plain.train(layer.training))
            transposed += [name] if layer.transposed else []
    return transposed


def transpose(module: nn.Module, names: list[str]) -> None:
    """transformers' Conv1D instead of these linear layers, in place."""
    from transformers.pytorch_utils import Conv1D

    for name in names:
        layer: Any = module.get_submodule(name)
        turned = Conv1D(layer.out_features, layer.in_features)
        turned.weight = nn.Parameter(layer.weight.detach().T.contiguous())
        turned.bias = layer.bias
        module.set_submodule(name, turned.train(layer.training))
