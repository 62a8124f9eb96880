"""What low-rank updates need beside peft's layers: dropout that is on while they learn, and informed starts.

An informed start takes the update from the pre-trained weights themselves, so that outputs would not be the model's own
any more. peft subtracts the start from the weights. Here these stay what they were, and can be shared by many adapters
and checked by their hash: what the start adds is subtracted from the layer's output, which is the same function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unfreeze.errors import ModelError
from unfreeze.stack.dropout import FastDropout

ADAPTER = "default"
"""peft's name for the one adapter of a model."""

START_A, START_B = "lora_start_A", "lora_start_B"

OVERSAMPLED, ITERATIONS = 8, 8
"""Of the randomised singular value decomposition: further directions, and power iterations."""


class UpdateDropout(FastDropout):
    """Dropout on what a low-rank update reads.

    It has its rate as a buffer too: by its name the layer stack counts it to the update, whose mode it then has, and
    not to the frozen layers around it, whose dropout is off.
    """

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.register_buffer("rate", torch.tensor(rate), persistent=False)


def set_dropout(layer: Any, rate: float) -> None:
    """Let a peft layer's update drop so many of its inputs in training."""
    if rate:
        layer.lora_dropout[ADAPTER] = UpdateDropout(rate)


def allow_any_layout(layer: Any) -> None:
    """Let DoRA beside a convolution read its factors in any memory layout, of which peft expects one.

    The copy of a model that computes in bfloat16 has its convolutions laid out channels last.
    """
    if ADAPTER in layer.lora_magnitude_vector and isinstance(layer.get_base_layer(), (nn.Conv1d, nn.Conv2d)):
        layer.lora_magnitude_vector[ADAPTER].get_lora_weight = _product_of


def _product_of(lora_A: nn.Module, lora_B: nn.Module, adapter_name: str | None = None) -> Tensor:
    return product(lora_A.weight, lora_B.weight)  # type: ignore[arg-type]


def product(down: Tensor, up: Tensor) -> Tensor:
    """A low-rank update as a matrix of shape (outputs, inputs), or (outputs, inputs · window) for a convolution.

    Parameters
    ----------
    down : Tensor of shape (rank, inputs, *window)
    up : Tensor of shape (outputs, rank, *ones)
    """
    return up.flatten(1) @ down.flatten(1)


def matrix_of(layer: Any) -> Tensor:
    """The weights below a peft layer as a matrix of shape (outputs, inputs) or (outputs, inputs · window)."""
    base = layer.get_base_layer()
    weight: Tensor = base.dequantize() if hasattr(base, "dequantize") else base.weight.detach()
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight.flatten(1)


def principal(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The strongest directions of a matrix, halved between the two factors.

    Source: Meng et al. 2024, PiSSA, arXiv:2404.02948, with its randomised decomposition.
    """
    left, strength, right = torch.svd_lowrank(matrix, q=min(rank + OVERSAMPLED, *matrix.shape), niter=ITERATIONS)
    root = strength[:rank].sqrt()
    return (right[:, :rank] * root).T, left[:, :rank] * root


def orthonormal(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The first columns of a QR decomposition, and what they are multiplied by.

    Source: Büyükakyüz 2024, OLoRA, arXiv:2406.01775.
    """
    columns, rows = torch.linalg.qr(matrix)
    return rows[:rank], columns[:, :rank]


INFORMED: dict[str, Callable[[Tensor, int], tuple[Tensor, Tensor]]] = {"pissa": principal, "olora": orthonormal}


@torch.no_grad()
def start_informed(name: str, layer: Any, how: str) -> None:
    """Let a peft layer's update begin with a part of the layer's own weights, in place; outputs stay up to rounding.

    Raises
    ------
    ModelError
        If the layer is too small for the update's rank.
    """
    matrix, rank, scale = matrix_of(layer).float(), layer.r[ADAPTER], layer.scaling[ADAPTER]
    if rank > min(matrix.shape):
        raise ModelError(
            f"method.options.start '{how}' needs a rank of at most {min(matrix.shape)} for '{name}', whose weights are "
            f"{matrix.shape[0]} x {matrix.shape[1]}. Got {rank}; with start 'kaiming' it may be larger."
        )
    down, up = (factor / scale**0.5 for factor in INFORMED[how](matrix, rank))
    for key, place, start in ((START_A, layer.lora_A[ADAPTER], down), (START_B, layer.lora_B[ADAPTER], up)):
        place.weight.copy_(start.reshape(place.weight.shape))
        layer.register_buffer(key, place.weight.detach().clone())
    layer.register_forward_hook(without_start)


def without_start(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A hook on a peft layer: its output less what the update's start adds to it."""
    input = inputs[0]
    for factors, start in ((layer.lora_A, START_A), (layer.lora_B, START_B)):
        factor = factors[ADAPTER]
        dtype = factor.weight.dtype
        input = functional_call(factor, {"weight": getattr(layer, start).to(dtype)}, (input.to(dtype),))
    changed: Tensor = output - (input * layer.scaling[ADAPTER]).to(output.dtype)
    return changed


@torch.no_grad()
def fold_start(layer: Any) -> None:
    """Subtract an update's start from the weights below, which have to be this layer's own, and forget it."""
    if not hasattr(layer, START_A):
        return
    base: nn.Module = layer.get_base_layer()
    change = product(getattr(layer, START_A), getattr(layer, START_B)) * layer.scaling[ADAPTER]
    weight: Tensor = base.weight  # type: ignore[assignment]
    weight -= change.T if getattr(layer, "fan_in_fan_out", False) else change.reshape(weight.shape)
    del layer._buffers[START_A], layer._buffers[START_B]


def exchanged(layer: Any) -> dict[str, Tensor]:
    """A peft layer's tensors as its files name them. With an informed start, of an update of twice the rank.

    The second half is the start with its sign turned, as in peft's own conversion of such adapters.
    """
    down, up = layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach()
    if hasattr(layer, START_A):
        down = torch.cat([down, getattr(layer, START_A)])
        up = torch.cat([up, -getattr(layer, START_B)], dim=1)
    found = {"lora_A.weight": down, "lora_B.weight": up}
    if ADAPTER in layer.lora_magnitude_vector:
        found["lora_magnitude_vector"] = layer.lora_magnitude_vector[ADAPTER].weight.detach()
    return found
