"""Norms that the convolutions before them compute: equal outputs in every family, and nothing left behind."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from test_replay import batch_of
from tiny import families, tiny_pretrained
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from unfreeze.errors import ModelError
from unfreeze.methods import METHODS
from unfreeze.models.techniques import tune
from unfreeze.stack.fused_norms import fused_norms
from unfreeze.stack.working import make_working

WITH_NORMS = {"densenet", "efficientnet", "inception", "mobilenet", "resnet"}
"""Families whose convolutions are followed by norms over the batch."""

ALL = WITH_NORMS - {"densenet"}
"""Families in which that holds for every norm."""


def moved(module: nn.Module) -> None:
    """Statistics and scales as training leaves them; a fresh norm changes nothing, and so proves nothing."""
    torch.manual_seed(3)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            for tensor in (child.running_var, child.weight):
                tensor.data.uniform_(0.5, 2)
            for tensor in (child.running_mean, child.bias):
                tensor.data.uniform_(-0.5, 0.5)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", families("image"))
def test_outputs_stay_and_the_model_is_as_before(name: str, precision: str) -> None:
    pretrained = tiny_pretrained(name)
    moved(pretrained.module)
    working = make_working(pretrained.stack(), precision)
    module = working.module.eval()
    batch = working.laid_out(batch_of(pretrained, 0, 1, 2))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with torch.inference_mode():
        plain = module(**batch)
        with fused_norms(module, lambda: module(**batch)) as count:
            found = module(**batch)
        again = module(**batch)
    assert (count > 0) == (name in WITH_NORMS)
    if name in ALL:
        assert count == sum(isinstance(child, nn.BatchNorm2d) for child in module.modules())
    assert float((found - plain).abs().max() / plain.abs().max()) <= (1e-4 if precision == "float32" else 0.1)
    assert torch.equal(again, plain)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


class Read(nn.Module):
    """A convolution's result goes through a norm, and `also` elsewhere."""

    def __init__(self, also: str = "") -> None:
        super().__init__()
        self.conv, self.norm, self.also = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), also

    def forward(self, image: Tensor) -> Tensor:
        found = self.conv(image)
        if self.also == "added":
            return self.norm(found) + found
        if self.also == "another bias":
            return self.norm(nn.functional.conv2d(image, self.conv.weight, torch.ones(3), padding=1))
        if self.also == "again":
            return self.norm(self.conv(self.norm(found)))
        if self.also == "changed":
            return self.norm(found * 2)
        return self.norm(found) if found.shape[0] else found


@pytest.mark.parametrize("also", ["added", "again", "changed", "another bias"])
def test_what_is_read_elsewhere_or_used_twice_stays(also: str) -> None:
    module, image = Read(also).eval(), torch.randn(2, 3, 5, 5)
    moved(module)
    plain = module(image)
    with fused_norms(module, lambda: module(image)) as count:
        assert count == 0
        assert torch.equal(module(image), plain)


def test_a_result_that_is_gone_is_not_taken_for_a_later_one() -> None:
    """What is normalised may be freed before the next convolution, whose result then gets its place and its id."""
    module, image = nn.Sequential(*(Read("changed") for _ in range(40))).eval(), torch.randn(2, 3, 5, 5)
    moved(module)
    plain = module(image)
    with fused_norms(module, lambda: module(image)) as count:
        assert count == 0
        assert torch.equal(module(image), plain)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.additions])
@pytest.mark.parametrize("name", ["efficientnet", "mobilenet", "resnet"])
def test_with_what_a_method_adds_outputs_stay(name: str, method: str) -> None:
    pretrained = tiny_pretrained(name)
    try:
        tune(pretrained, method, {})
    except ModelError:
        pytest.skip("the method does not go with convolutions")
    moved(pretrained.module)
    torch.manual_seed(4)
    for _, parameter in pretrained.module.named_parameters():
        parameter.data += 0.1 * parameter.data.abs().mean() * torch.randn_like(parameter)
    module, batch = pretrained.module.eval(), batch_of(pretrained, 0, 1, 2)
    with torch.inference_mode():
        plain = module(**batch)
        with fused_norms(module, lambda: module(**batch)):
            found = module(**batch)
    assert float((found - plain).abs().max() / plain.abs().max()) <= 1e-4


def test_a_weight_that_is_computed_each_time_stays() -> None:
    module, image = nn.Sequential(*(Read() for _ in range(20))).eval(), torch.randn(2, 3, 5, 5)
    for each in module:
        parametrizations.orthogonal(each.conv)  # type: ignore[attr-defined]
    moved(module)
    plain = module(image)
    with fused_norms(module, lambda: module(image)) as count:
        assert count == 0
        assert torch.equal(module(image), plain)


def test_a_norm_that_learns_stays() -> None:
    module, image = Read().eval(), torch.randn(2, 3, 5, 5)
    module.norm.train()
    with fused_norms(module, lambda: module(image)) as count:
        assert count == 0


def test_an_error_inside_leaves_the_model_as_it_was() -> None:
    module, image = Read().eval(), torch.randn(2, 3, 5, 5)
    moved(module)
    plain, names = module(image), list(module.state_dict())
    with suppress(ZeroDivisionError), fused_norms(module, lambda: module(image)) as count:
        assert count == 1
        _ = 1 / 0
    assert torch.equal(module(image), plain)
    assert list(module.state_dict()) == names
