"""Attention that stays fast on a CPU with dropout and with masks, put in the place of torch's own.

torch's fused kernel knows no dropout, and the plain one that it falls back to on a CPU draws its masks slowly; the
fused kernel's own backward pass in bfloat16 takes several times as long as the plain products. transformers lets
attention be replaced by name.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.stack.dropout import dropout as dropped

NAME = "unfreeze"

_CHANGING = ("softcap", "s_aux", "sinks")
"""Further arguments of some models that change the weights: they are left to torch's."""


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """softmax(query · key / √width + mask) · value, as transformers' attention functions are called.

    Parameters
    ----------
    query, key, value : Tensor of shape (rows, heads, tokens, width)
        Keys and values may have fewer heads, each for several of the query's.
    attention_mask : Tensor of shape (rows, 1 or heads, tokens, tokens), optional
        True where a token may be looked at, or a number to be added.

    Returns
    -------
    Tensor of shape (rows, tokens, heads, width), and None
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # Without gradients torch's kernel is as fast, and in float32 only dropout makes it slow.
    slow = torch.is_grad_enabled() and query.requires_grad and (dropout > 0 or query.dtype != torch.float32)
    unmasked = attention_mask is None and causal and query.shape[2] > 1
    others = any(value is not None for name, value in more.items() if name in _CHANGING)
    if not slow or query.device.type != "cpu" or unmasked or others or torch.compiler.is_compiling():
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        found: tuple[Tensor, None] = sdpa(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **more
        )
        return found
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = (part.repeat_interleave(heads, dim=1) for part in (key, value))
    scores = torch.matmul(query, key.transpose(-1, -2)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + attention_mask
    if more.get("position_bias") is not None:
        scores = scores + more["position_bias"]
    weights = dropped(scores.softmax(-1), dropout, training=True)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def register() -> None:
    """Make `attention` known to transformers by its name; masks are made as for torch's own."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if NAME not in ALL_ATTENTION_FUNCTIONS:
        ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
        ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def attend_fast(module: nn.Module) -> None:
    """Let a transformers backbone inside a module attend by `attention`, where it attends by torch's own now.

    What stands before that name ("prefix+sdpa") stays there.
    """
    from transformers.modeling_utils import PreTrainedModel

    register()
    for child in module.modules():
        # Some models of older versions attend by a list of functions of their own.
        asks = hasattr(sys.modules[type(child).__module__], "ALL_ATTENTION_FUNCTIONS")
        if isinstance(child, PreTrainedModel) and asks:
            before, plus, name = (child.config._attn_implementation or "").rpartition("+")
            if name == "sdpa":
                child.config._attn_implementation = f"{before}{plus}{NAME}"
