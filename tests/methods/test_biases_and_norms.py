"""BitFit and norm-only pick parameters of the model's own, in as many blocks as are asked for, or say why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unfreeze.errors import ModelError
from unfreeze.models.techniques import tune

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from tiny import tiny_pretrained


@pytest.mark.parametrize("method", ["bitfit", "norm-only"])
def test_with_blocks_only_the_topmost_are_picked(method: str) -> None:
    pretrained = tiny_pretrained("bert")
    blocks = [name for name in pretrained.stack().names if name.startswith("block ")]
    tune(pretrained, method, {"blocks": 1})
    assert {group.beside for group in pretrained.stack().groups if group.beside} == {blocks[-1]}
    assert pretrained.tuned, "the plan lists the layers"


def test_every_bias_below_the_head_is_picked() -> None:
    pretrained = tiny_pretrained("bert")
    tune(pretrained, "bitfit", {})
    stack = pretrained.stack()
    picked = {name for group in stack.groups if group.beside for name in group.parameters}
    assert picked == {
        name
        for name, _ in pretrained.module.named_parameters()
        if name.endswith("bias") and name.startswith("backbone")
    }


def test_a_model_without_biases_is_refused_and_told_what_to_take() -> None:
    with pytest.raises(ModelError, match=r"\(decoder\) have no biases that could learn\. Take 'norm-only' or 'ia3'"):
        tune(tiny_pretrained("decoder"), "bitfit", {})


def test_a_network_without_norms_is_refused() -> None:
    with pytest.raises(ModelError, match="no normalisation layers that could learn"):
        tune(tiny_pretrained("vgg"), "norm-only", {})
