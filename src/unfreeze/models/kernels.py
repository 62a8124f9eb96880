"""Faster ways to compute the same, put into the copy of a model that computes; what is saved knows nothing of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from unfreeze.models.attention import attend_fast
from unfreeze.models.depthwise import convolve_fast
from unfreeze.models.low_rank_products import update_fast
from unfreeze.stack.dropout import draw_fast


def fast_kernels(device: torch.device) -> tuple[Callable[[nn.Module], None], ...]:
    """Changes of a module, in place, that pay on this kind of device; torch's own kernels are good on a GPU."""
    return (draw_fast, attend_fast, update_fast, convolve_fast) if device.type == "cpu" else ()
