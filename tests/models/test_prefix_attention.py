"""A prefix in front of attention: what plain concatenation gives, whatever the mask, the heads and the kernel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from unfreeze import _torchvision  # noqa: F401  (before transformers)
from unfreeze.models.prefixes import Prefix, _register, attend

ROWS, HEADS, TOKENS, LENGTH, WIDTH = 3, 4, 7, 5, 8
KINDS = ("none", "causal", "padding", "added", "bias")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def prefix_of(key_heads: int, gated: bool = False, dtype: torch.dtype = torch.float32) -> Prefix:
    shape = (key_heads, LENGTH, WIDTH)
    units = torch.tensor(0.7), torch.tensor(1.3)
    return Prefix(drawn(*shape, seed=1), drawn(*shape, seed=2), units, None, HEADS if gated else 0).to(dtype)


def module_of(kind: str, key_heads: int, prefix: Prefix | None) -> Any:
    return SimpleNamespace(
        is_causal=kind == "causal", num_key_value_groups=HEADS // key_heads, prefix=prefix, training=True
    )


def parts(key_heads: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((ROWS, HEADS, TOKENS, WIDTH), *[(ROWS, key_heads, TOKENS, WIDTH)] * 2)
    query, key, value = (drawn(*shape, seed=3 + n).to(dtype).requires_grad_() for n, shape in enumerate(shapes))
    return query, key, value


def allowed(kind: str) -> Tensor:
    """Which token looks at which other."""
    look = torch.ones(ROWS, 1, TOKENS, TOKENS, dtype=torch.bool)
    if kind == "causal":
        look = look.tril()
    if kind in ("padding", "added"):
        look[1, :, :, 4:] = False
    return look


def arguments(kind: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor | None, dict[str, Any]]:
    """The mask and further arguments as an architecture gives them."""
    if kind == "bias":
        return None, {"position_bias": drawn(1, HEADS, TOKENS, TOKENS, seed=9).to(dtype), "scaling": 1.0}
    if kind == "padding":
        return allowed(kind), {}
    if kind == "added":
        return torch.zeros(ROWS, 1, TOKENS, TOKENS, dtype=dtype).masked_fill(~allowed(kind), -1e9), {"scaling": 0.5}
    return None, {}


def concatenated(kind: str, key_heads: int, query: Tensor, key: Tensor, value: Tensor, prefix: Prefix) -> Tensor:
    """The definition: one softmax over the prefix and the tokens that may be seen."""
    _, more = arguments(kind)
    keys, values = prefix()
    groups = HEADS // key_heads
    key, value = (
        torch.cat([own.expand(ROWS, -1, -1, -1), tokens], dim=2).repeat_interleave(groups, dim=1)
        for own, tokens in ((keys, key), (values, value))
    )
    scores = query @ key.transpose(-1, -2) * more.get("scaling", WIDTH**-0.5)
    bias = more.get("position_bias", torch.zeros(1, 1, TOKENS, TOKENS))
    scores = scores + torch.cat([torch.zeros(*bias.shape[:-1], LENGTH), bias], dim=-1)
    seen = torch.cat([torch.ones(ROWS, 1, TOKENS, LENGTH, dtype=torch.bool), allowed(kind)], dim=-1)
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
    return (weights @ value).transpose(1, 2)


@pytest.fixture(autouse=True, scope="module")
def _names() -> None:
    _register()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("inner", ["sdpa", "unfreeze"])
def test_values_and_gradients_are_those_of_plain_concatenation(kind: str, key_heads: int, inner: str) -> None:
    found: list[list[Tensor]] = []
    for plain in (False, True):
        prefix = prefix_of(key_heads)
        query, key, value = parts(key_heads)
        if plain:
            outputs = concatenated(kind, key_heads, query, key, value, prefix)
        else:
            mask, more = arguments(kind)
            outputs, _ = attend(inner, module_of(kind, key_heads, prefix), query, key, value, mask, **more)
        outputs.square().sum().backward()  # type: ignore[no-untyped-call]
        learned = prefix.virtual.tokens
        found.append([outputs.detach(), *(part.grad for part in (query, key, value, learned) if part.grad is not None)])
    assert len(found[0]) == 5
    for mine, expected in zip(*found, strict=True):
        assert torch.allclose(mine, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key_heads", [4, 2])
def test_the_fast_kernel_agrees_with_torchs(kind: str, key_heads: int) -> None:
    """In bfloat16 with gradients, where the fast one computes by itself."""
    found: list[list[Tensor]] = []
    for inner in ("sdpa", "unfreeze"):
        prefix = prefix_of(key_heads, dtype=torch.bfloat16)
        query, key, value = parts(key_heads, torch.bfloat16)
        mask, more = arguments(kind, torch.bfloat16)
        outputs, _ = attend(inner, module_of(kind, key_heads, prefix), query, key, value, mask, **more)
        outputs.float().square().sum().backward()  # type: ignore[no-untyped-call]
        learned = prefix.virtual.tokens
        found.append([outputs.detach(), *(part.grad for part in (query, key, value, learned) if part.grad is not None)])
    for mine, torchs in zip(*found, strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine - torchs).abs().max()) <= 0.04 * float(torchs.abs().max())


def test_an_architectures_own_function_gets_the_prefix_too() -> None:
    from transformers.models.gemma2 import modeling_gemma2

    class Attention(SimpleNamespace):
        __module__ = modeling_gemma2.__name__

    prefix = prefix_of(2)
    query, key, value = parts(2)
    module: Any = Attention(**vars(module_of("added", 2, prefix)))
    module.head_dim = WIDTH
    mask, more = arguments("added")
    outputs, _ = attend("eager", module, query, key, value, mask, **more)
    expected = concatenated("added", 2, query, key, value, prefix)
    assert torch.allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("inner", ["sdpa", "unfreeze"])
def test_a_causal_token_sees_the_whole_prefix_and_no_later_token(inner: str) -> None:
    prefix = prefix_of(4)
    query, key, value = parts(4)
    outputs, _ = attend(inner, module_of("causal", 4, prefix), query, key, value, None)
    with torch.no_grad():
        value[:, :, 3:] += 10
        key[:, :, 3:] -= 10
    later, _ = attend(inner, module_of("causal", 4, prefix), query, key, value, None)
    assert torch.allclose(outputs[:, :3], later[:, :3])
    assert not torch.allclose(outputs[:, 3:], later[:, 3:])
    with torch.no_grad():
        prefix.virtual.tokens[-1] += 1
    moved, _ = attend(inner, module_of("causal", 4, prefix), query, key, value, None)
    assert not torch.allclose(later[:, 0], moved[:, 0])


@pytest.mark.parametrize("inner", ["sdpa", "unfreeze"])
@pytest.mark.parametrize("kind", ["padding", "added"])
def test_a_padded_token_is_never_looked_at(kind: str, inner: str) -> None:
    prefix = prefix_of(4)
    query, key, value = parts(4)
    mask, more = arguments(kind)
    before, _ = attend(inner, module_of(kind, 4, prefix), query, key, value, mask, **more)
    with torch.no_grad():
        value[1, :, 4:] += 100
        key[1, :, 4:] += 100
    after, _ = attend(inner, module_of(kind, 4, prefix), query, key, value, mask, **more)
    assert torch.equal(before, after)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key_heads", [4, 2])
def test_a_closed_gate_changes_nothing_and_an_open_one_adds(kind: str, key_heads: int) -> None:
    prefix = prefix_of(key_heads, gated=True)
    query, key, value = parts(key_heads)
    mask, more = arguments(kind)
    without, _ = attend("sdpa", module_of(kind, key_heads, None), query, key, value, mask, **more)
    closed, _ = attend("sdpa", module_of(kind, key_heads, prefix), query, key, value, mask, **more)
    assert torch.equal(closed, without)
    assert prefix.gate is not None
    with torch.no_grad():
        prefix.gate += torch.tensor([0.0, 0.5, -1.0, 3.0])
    opened, _ = attend("sdpa", module_of(kind, key_heads, prefix), query, key, value, mask, **more)
    keys, values = (part.repeat_interleave(HEADS // key_heads, dim=0) for part in prefix())
    own = (query @ keys.mT * more.get("scaling", WIDTH**-0.5)).softmax(-1) @ values
    expected = without + (own * prefix.gate.tanh()[:, None, None]).transpose(1, 2)
    assert torch.allclose(opened, expected, atol=1e-5)
    assert torch.equal(opened[:, :, 0], without[:, :, 0])


def test_a_prefix_begins_as_what_it_was_given() -> None:
    keys, values = prefix_of(2)()
    assert torch.allclose(keys, drawn(2, LENGTH, WIDTH, seed=1), atol=1e-6)
    assert torch.allclose(values, drawn(2, LENGTH, WIDTH, seed=2), atol=1e-6)
