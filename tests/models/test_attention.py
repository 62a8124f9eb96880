"""Attention in the place of torch's own: the same values, gradients and, with dropout, the same mean."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unfreeze import _torchvision  # noqa: F401  (before transformers)
from unfreeze.models.attention import attention

MODULE: Any = SimpleNamespace(is_causal=False, num_key_value_groups=1)


def parts(heads: int = 4, key_heads: int = 4, dtype: torch.dtype = torch.bfloat16) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    shapes = ((3, heads, 9, 8), (3, key_heads, 9, 8), (3, key_heads, 9, 8))
    query, key, value = (torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes)
    return query, key, value


def mask_of(kind: str) -> Tensor | None:
    mask = torch.ones(3, 1, 9, 9, dtype=torch.bool)
    mask[1, :, :, 5:] = False
    return {
        "none": None,
        "padding": mask,
        "added": torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, -1e9),
    }[kind]


@pytest.mark.parametrize("kind", ["none", "padding", "added"])
@pytest.mark.parametrize("key_heads", [4, 2])
def test_values_and_gradients_are_those_of_torch(kind: str, key_heads: int) -> None:
    found: list[list[Tensor]] = []
    module: Any = SimpleNamespace(is_causal=False, num_key_value_groups=4 // key_heads)
    for slow in (False, True):
        query, key, value = parts(key_heads=key_heads)
        if slow:
            mask = mask_of(kind)
            several = [part.repeat_interleave(4 // key_heads, 1) for part in (key, value)]
            outputs = torch.nn.functional.scaled_dot_product_attention(query, *several, attn_mask=mask).transpose(1, 2)
        else:
            outputs, _ = attention(module, query, key, value, mask_of(kind))
        outputs.float().square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([outputs.detach(), *(part.grad for part in (query, key, value) if part.grad is not None)])
    for mine, torchs in zip(*found, strict=True):
        assert torch.allclose(mine.float(), torchs.float(), atol=0.06, rtol=0.05)


def test_dropout_drops_and_keeps_the_mean() -> None:
    query, key, value = parts(dtype=torch.float32)
    plain, _ = attention(MODULE, query, key, value, mask_of("padding"))
    torch.manual_seed(0)
    several = [attention(MODULE, query, key, value, mask_of("padding"), dropout=0.3)[0] for _ in range(300)]
    assert not torch.equal(several[0], several[1])
    assert float((torch.stack(several).mean(0) - plain).detach().abs().max()) < 0.25


def test_a_padded_token_is_never_looked_at() -> None:
    query, key, value = parts()
    before, _ = attention(MODULE, query, key, value, mask_of("padding"), dropout=0.0)
    with torch.no_grad():
        value[1, :, 5:] += 100
        key[1, :, 5:] += 100
    after, _ = attention(MODULE, query, key, value, mask_of("padding"), dropout=0.0)
    assert torch.equal(before, after)


def test_a_causal_model_without_a_mask_is_left_to_torch() -> None:
    query, key, value = parts()
    module: Any = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    outputs, _ = attention(module, query, key, value, None, dropout=0.0)
    with torch.no_grad():
        value[:, :, 1:] += 10
    again, _ = attention(module, query, key, value, None, dropout=0.0)
    assert torch.equal(outputs[:, 0], again[:, 0])
    assert not torch.equal(outputs[:, 1], again[:, 1])
