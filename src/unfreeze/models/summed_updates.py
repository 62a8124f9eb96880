"""The weighted sum of low-rank updates: an update itself, of all their ranks together.

The mean of factors would be something else: the product of two means is not the mean of two products. Factors that
stand beside each other are exact: Σ wᵢ · Bᵢ Aᵢ = [w₁ B₁ … wₙ Bₙ] · [A₁; …; Aₙ].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.models.low_rank import ADAPTER, START_A, START_B, without_start


@torch.no_grad()
def sum_updates(layer: Any, updates: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> None:
    """Let a peft layer compute the weighted sum of updates, in place, exactly up to rounding.

    Parameters
    ----------
    layer : a peft layer without DoRA's magnitudes
        Its factor (alpha / rank, or alpha / √rank) is the updates' too, and stays: alpha grows with the rank.
    updates : sequence of mapping
        As `exchanged` gives them, whose informed starts are part of the factors.
    weights : sequence of float
    """
    down = torch.cat([update["lora_A.weight"] for update in updates])
    up = torch.cat([weight * update["lora_B.weight"] for weight, update in zip(weights, updates, strict=True)], dim=1)
    rank, before = len(down), layer.r[ADAPTER]
    for factor, weight, side in ((layer.lora_A[ADAPTER], down, "out"), (layer.lora_B[ADAPTER], up, "in")):
        factor.weight = nn.Parameter(weight)
        setattr(factor, f"{side}_features" if isinstance(factor, nn.Linear) else f"{side}_channels", rank)
    layer.r[ADAPTER] = rank
    layer.lora_alpha[ADAPTER] *= (rank / before) ** (0.5 if layer.use_rslora[ADAPTER] else 1)
    _forget_start(layer)


def _forget_start(layer: Any) -> None:
    """Of an informed start, which is part of the factors by now."""
    if hasattr(layer, START_A):
        del layer._buffers[START_A], layer._buffers[START_B]
        for key in [key for key, hook in layer._forward_hooks.items() if hook is without_start]:
            del layer._forward_hooks[key]
