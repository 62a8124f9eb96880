"""Depthwise convolutions in bfloat16: the gradients of the plain layer, wherever they are computed another way."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from unfreeze.models import depthwise
from unfreeze.models.depthwise import FastDepthwise, FastDepthwiseSame, convolve_fast
from unfreeze.models.tiny_cnn import timm  # noqa: F401  (before timm.layers)

ROUNDED = 0.02
"""Largest difference to float32's gradients, relative to their scale."""


def gradients(layer: nn.Module, image: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of all parameters."""
    image = image.clone().requires_grad_()
    found = layer(image)
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype).view_as(found)
    (found * weights).sum().backward()
    return [found.detach(), image.grad, *(parameter.grad for parameter in layer.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "padding", "dilation"), [(3, 2, 1, 1), (5, 1, 2, 1), (5, 2, 0, 1), (7, 3, 3, 2)]
)
def test_gradients_are_the_plain_layers(window: int, stride: int, padding: int, dilation: int, bias: bool) -> None:
    torch.manual_seed(0)
    exact = nn.Conv2d(6, 6, window, stride, padding, dilation, groups=6, bias=bias)
    fast = nn.Sequential(copy.deepcopy(exact)).to(torch.bfloat16).to(memory_format=torch.channels_last)
    convolve_fast(fast)
    assert type(fast[0]) is FastDepthwise
    image = torch.randn(4, 6, 19, 17).bfloat16().contiguous(memory_format=torch.channels_last)
    expected = gradients(exact, image.float())
    for mine, theirs in zip(gradients(fast, image), expected, strict=True):
        assert mine.dtype == torch.bfloat16
        assert float((mine.float() - theirs).abs().max() / theirs.abs().max()) < ROUNDED


@pytest.mark.parametrize("images", [1, 3])
def test_in_parts_gradients_are_those_of_the_whole(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1, groups=6)).to(torch.bfloat16).to(memory_format=torch.channels_last)
    convolve_fast(layer)
    batch = torch.randn(4, 6, 19, 17).bfloat16().contiguous(memory_format=torch.channels_last)
    whole = gradients(layer, batch)
    layer.zero_grad()
    monkeypatch.setattr(depthwise, "NEAR", images * 4 * batch[0].numel())
    for mine, theirs in zip(gradients(layer, batch), whole, strict=True):
        assert torch.equal(mine, theirs)


def test_it_pads_as_tensorflow_does() -> None:
    from timm.layers import Conv2dSame

    torch.manual_seed(0)
    exact = Conv2dSame(6, 6, 5, 2, groups=6)
    fast = nn.Sequential(copy.deepcopy(exact)).to(torch.bfloat16)
    convolve_fast(fast)
    assert type(fast[0]) is FastDepthwiseSame
    image = torch.randn(4, 6, 18, 18).bfloat16()
    for mine, theirs in zip(gradients(fast, image), gradients(exact, image.float()), strict=True):
        assert float((mine.float() - theirs).abs().max() / theirs.abs().max()) < ROUNDED


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 6, 3, 1, 1, groups=6),
        nn.Conv2d(6, 6, 3, 2, 1),
        nn.Conv2d(6, 12, 5, 2, groups=2),
        nn.Conv2d(6, 6, 5, padding="same", groups=6),
        nn.Conv2d(6, 6, 5, 2, 2, groups=6, padding_mode="reflect"),
    ],
)
def test_others_stay_what_they_are(layer: nn.Module) -> None:
    module = nn.Sequential(layer)
    convolve_fast(module)
    assert type(module[0]) is nn.Conv2d


def test_float32_and_inference_are_torchs_own() -> None:
    torch.manual_seed(0)
    exact = nn.Conv2d(6, 6, 5, 2, 2, groups=6)
    fast = nn.Sequential(copy.deepcopy(exact))
    convolve_fast(fast)
    image = torch.randn(2, 6, 9, 9)
    for mine, theirs in zip(gradients(fast, image), gradients(exact, image), strict=True):
        assert torch.equal(mine, theirs)
    with torch.no_grad():
        assert torch.equal(fast(image), exact(image))


def test_only_what_learns_has_a_gradient() -> None:
    fast = nn.Sequential(nn.Conv2d(6, 6, 5, 2, 2, groups=6)).to(torch.bfloat16)
    convolve_fast(fast)
    fast.requires_grad_(False)
    image = torch.randn(2, 6, 9, 9).bfloat16().requires_grad_()
    fast(image).sum().backward()
    assert image.grad is not None
    assert fast[0].weight.grad is None
