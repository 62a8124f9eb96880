"""A frozen layer and its low-rank update in one pass: what peft computes, for every setting, and the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny_pretrained

from unfreeze.methods import lora
from unfreeze.models.low_rank_products import update_fast
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.working import Working, make_working

CLOSE = {"float32": 1e-5, "bf16": 0.05}


def with_updates(**settings: Any) -> Pretrained:
    """A tiny BERT whose updates have learned something."""
    pretrained = tiny_pretrained("bert")
    lora.add_low_rank(pretrained, lora.Settings(rank=4, **settings))
    pretrained.additions = pretrained.additions or (lora.ADDED,)
    torch.manual_seed(1)
    for name, parameter in pretrained.module.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    return pretrained


def learned(working: Working, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs, and the gradients of what learns, as one vector."""
    names = [group.name for group in working.master.groups if group.beside] + [working.master.names[-1]]
    for parameter in working.master.module.parameters():
        parameter.grad = None
    working.set_learning(names)
    set_modes(working.stack, names) if training else working.module.eval()
    ids = torch.arange(1, 31).reshape(2, 15) % 60
    torch.manual_seed(5)
    outputs = working.module(input_ids=ids, attention_mask=torch.ones_like(ids))
    outputs.float().square().sum().backward()
    working.collect(names)
    found = [parameter.grad for parameter in working.master.module.parameters() if parameter.grad is not None]
    return outputs.detach().float(), torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"alpha": 3.0},
        {"rslora": True},
        {"start": "pissa"},
        {"dora": True},
        {"dropout": 0.3},
        {"plus_ratio": 16.0},
        {"blocks": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_are_pefts(settings: dict[str, Any], precision: str, training: bool) -> None:
    pretrained = with_updates(**settings)
    stack = pretrained.stack()
    plain, gradients = learned(make_working(stack, precision), training)
    fast, found = learned(make_working(stack, precision, (update_fast,)), training)
    assert float((fast - plain).abs().max() / plain.abs().max()) <= CLOSE[precision]
    assert len(found) == len(gradients)
    assert float((found - gradients).norm() / gradients.norm()) <= CLOSE[precision]


def test_plain_updates_are_computed_together_and_others_as_ever() -> None:
    def fused(**settings: Any) -> bool:
        pretrained = with_updates(**settings)
        working = make_working(pretrained.stack(), "float32", (update_fast,))
        called = []
        for name, module in working.module.named_modules():
            if name.endswith("lora_A.default"):
                module.register_forward_hook(lambda *_: called.append(1))
        learned(working, training=True)
        return not called

    assert fused()
    assert not fused(dropout=0.3)
    assert not fused(dora=True)


def test_the_model_itself_stays_pefts() -> None:
    pretrained = with_updates()
    kinds = [type(module) for module in pretrained.module.modules()]
    make_working(pretrained.stack(), "bf16", (update_fast,))
    assert [type(module) for module in pretrained.module.modules()] == kinds
