"""A frozen linear layer and the low-rank update beside it, computed together.

peft computes the layer, the update, scales the update and adds it: two passes more over what the layer gives, and one
more over the gradient of what it reads. Here the products add to each other's results. Factors and weights, and so what
is saved, stay peft's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.models.low_rank import ADAPTER


class _Updated(torch.autograd.Function):
    """input · weightᵀ + bias + scale · input · downᵀ · upᵀ, where weight and bias are frozen."""

    @staticmethod
    def forward(
        context: Any, input: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        rows = input.reshape(-1, input.shape[-1])
        inner = rows @ down.T
        found = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        found.addmm_(inner, up.T, alpha=scale)
        context.save_for_backward(rows, inner, weight, down, up)
        context.scale = scale
        return found.view(*input.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, inner, weight, down, up = context.saved_tensors
        above = gradient.reshape(-1, gradient.shape[-1])
        below = (above @ up).mul_(context.scale)
        for_up = (above.T @ inner).mul_(context.scale)
        for_input = None
        if context.needs_input_grad[0]:
            for_input = (above @ weight).addmm_(below, down).view(*gradient.shape[:-1], -1)
        return for_input, None, None, below.T @ rows, for_up, None


def update_fast(module: nn.Module) -> None:
    """Let every low-rank update beside a frozen linear layer be computed with it, in place."""
    if not any(hasattr(child, "lora_A") for child in module.modules()):
        return
    plain, fast = _kinds()
    for child in module.modules():
        if type(child) is plain:
            child.__class__ = fast


@cache
def _kinds() -> tuple[type, type]:
    """peft's linear layer with updates, and the same computed fast."""
    from unfreeze import _torchvision  # noqa: F401  (before peft)
    from unfreeze.models.nf4_kernels import load_bitsandbytes

    load_bitsandbytes()
    from peft.tuners.lora import Linear  # isort: skip

    class FastLinear(Linear):
        """peft's, where it has one plain update; it computes everything else as ever."""

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            """The layer's outputs with the update."""
            base = self.base_layer
            alone = not args and not kwargs and list(self.lora_A) == self.active_adapters == [ADAPTER]
            plain = not self.merged and not self.disable_adapters and not self.lora_variant
            if not alone or not plain or not _fits(base, x, self.lora_A[ADAPTER], self.lora_dropout[ADAPTER]):
                found: Tensor = super().forward(x, *args, **kwargs)
                return found
            down, up = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight
            updated: Tensor = _Updated.apply(x, base.weight, base.bias, down, up, self.scaling[ADAPTER])
            return updated

    return Linear, FastLinear


def _fits(base: Any, input: Tensor, down: Any, dropout: Any) -> bool:
    """Whether a layer is frozen, of one type, and its update reads all of the input."""
    if type(base) is not nn.Linear or torch.compiler.is_compiling():
        return False
    frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
    whole = isinstance(dropout, nn.Identity) or not dropout.training
    return frozen and whole and input.dtype == base.weight.dtype == down.weight.dtype
