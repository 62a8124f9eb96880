"""IA3's scales and norm-only: where they stand, how they begin, what stays, what merging leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import fit_images, fit_text
from test_replay import batch_of
from tiny import tiny_pretrained
from torch import Tensor, nn

from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods._peft import adapted
from unfreeze.models.low_rank import ADAPTER
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import merge, tune
from unfreeze.optim.groups import parameter_groups
from unfreeze.stack.frontier import set_learning, set_modes

FAMILIES = ("bert", "gpt2", "t5", "resnet", "mobilenet", "vit")

PLACES = {
    "bert": ({"attention.self.key", "attention.self.value"}, {"output.dense"}),
    "gpt2": ({"attn.c_attn"}, {"mlp.c_proj"}),
    "t5": ({"SelfAttention.k", "SelfAttention.v"}, {"DenseReluDense.wo"}),
    "vit": ({"attn.qkv"}, {"mlp.fc2"}),
    "deberta": ({"attention.self.key_proj", "attention.self.value_proj"}, {"output.dense"}),
    "distilbert": ({"attention.k_lin", "attention.v_lin"}, {"ffn.lin2"}),
    "decoder": ({"self_attn.k_proj", "self_attn.v_proj"}, {"mlp.down_proj"}),
    "modernbert": ({"attn.Wqkv"}, {"mlp.Wo"}),
    "xlnet": (set(), {"ff.layer_2"}),
}


def tuned(family: str, method: str = "ia3", **options: Any) -> Pretrained:
    pretrained = tiny_pretrained(family)
    tune(pretrained, method, options)
    return pretrained


def outputs_of(pretrained: Pretrained) -> Tensor:
    pretrained.module.eval()
    with torch.no_grad():
        return pretrained.module(**batch_of(pretrained, 0, 1, 2, 3))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def learned(pretrained: Pretrained) -> Pretrained:
    draw = torch.Generator().manual_seed(0)
    added = {n for group in pretrained.stack().groups if group.beside for n in group.parameters}
    with torch.no_grad():
        for name, parameter in pretrained.module.named_parameters():
            if name in added:
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
    return pretrained


@pytest.mark.parametrize("family", FAMILIES)
def test_scales_begin_at_one_and_change_nothing(family: str) -> None:
    pretrained = tuned(family)
    assert all(bool((layer.ia3_l[ADAPTER] == 1).all()) for layer in adapted(pretrained).values())
    assert torch.equal(outputs_of(pretrained), outputs_of(tiny_pretrained(family)))
    assert not torch.equal(outputs_of(learned(pretrained)), outputs_of(tiny_pretrained(family)))


@pytest.mark.parametrize("family", PLACES)
def test_keys_values_and_what_feed_forward_reads_are_scaled(family: str) -> None:
    making, reading = PLACES[family]
    layers = adapted(tuned(family))
    assert len(layers) == 3 * len(making | reading)
    for ends, is_reading in ((making, False), (reading, True)):
        for end in ends:
            found = [layer for name, layer in layers.items() if name.endswith(f".{end}")]
            assert len(found) == 3, end
            assert {layer.is_feedforward for layer in found} == {is_reading}


@pytest.mark.parametrize("family", ["resnet", "mobilenet", "convnext", "efficientnet"])
def test_of_convolutional_networks_the_channels_are_scaled_also_those_of_grouped_convolutions(family: str) -> None:
    plain = tiny_pretrained(family)
    inside = {name for group in plain.stack().groups if group.name.startswith("block ") for name in group.parameters}
    wanted = {n for n, m in plain.module.named_modules() if isinstance(m, nn.Conv2d) and f"{n}.weight" in inside}
    assert {f"backbone.{name}" for name in adapted(tuned(family))} == wanted


@pytest.mark.parametrize("family", ["bert", "gpt2", "resnet"])
def test_scales_multiply_what_a_layer_makes_or_reads(family: str) -> None:
    pretrained = learned(tuned(family))
    for layer in list(adapted(pretrained).values())[:3]:
        base, scales = layer.get_base_layer(), layer.ia3_l[ADAPTER]
        if isinstance(base, nn.Conv2d):
            input = torch.randn(2, base.in_channels, 8, 8)
            expected = base(input) * scales.view(1, -1, 1, 1)
        elif layer.is_feedforward:
            input = torch.randn(2, scales.numel())
            expected = base(input * scales.flatten())
        else:
            input = torch.randn(2, layer.in_features)
            expected = base(input) * scales.flatten()
        assert torch.allclose(layer(input), expected, atol=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, "convnext"])
def test_merged_it_is_plain_and_predicts_the_same(family: str) -> None:
    pretrained = learned(tuned(family))
    before = outputs_of(pretrained)
    merge(pretrained)
    assert relative(outputs_of(pretrained), before) < 1e-5
    assert pretrained.module.state_dict().keys() == tiny_pretrained(family).module.state_dict().keys()


def test_what_may_be_said_about_places() -> None:
    pretrained = tuned("bert", targets=["query", "intermediate.dense"], feedforward=["query"], blocks=1)
    assert {name: layer.is_feedforward for name, layer in adapted(pretrained).items()} == {
        "encoder.layer.2.attention.self.query": True,
        "encoder.layer.2.intermediate.dense": False,
    }
    assert pretrained.tuned == [
        "scales on what it makes: encoder.layer.*.intermediate.dense (32 to 48)",
        "scales on what it reads: encoder.layer.*.attention.self.query (32 to 32)",
    ]
    with pytest.raises(RecipeError, match="cannot be changed"):
        tuned("bert", targets=[".*LayerNorm"])
    with pytest.raises(RecipeError, match=r"feedforward: 'outptu.dense' is none of .* Did you mean 'output.dense'\?"):
        tuned("bert", feedforward=["outptu.dense"])
    with pytest.raises(RecipeError, match=r"feedforward: 'intermediate.dense' is none of the layers that are scaled"):
        tuned("bert", targets=["query"], feedforward=["query", "intermediate.dense"])


@pytest.mark.parametrize("family", ["bert", "resnet"])
def test_scales_are_not_pulled_towards_zero(family: str) -> None:
    groups = parameter_groups(tuned(family).stack(), 0.1)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    scales = [name for name in decays if ".ia3_l." in name]
    assert scales
    assert {decays[name] for name in scales} == {0.0}
    assert 0.1 in {decays[name] for name in decays if name not in scales}


def test_whole_runs_pass_the_gate(home: Path) -> None:
    for fit, method in ((fit_text, "ia3"), (fit_images, "ia3"), (fit_images, "norm-only")):
        run = fit(home, Path(f"{fit.__name__}-{method}"), method=method, epochs=1)
        assert run.result["gate"]["state"] == "identical"
        assert run.result["gate"]["difference"] == 0.0


# -------------------------------------------------------------------------------------------------- norm-only


@pytest.mark.parametrize("family", [*FAMILIES, "convnext", "decoder", "xlnet", "inception"])
def test_of_each_group_the_norms_are_apart(family: str) -> None:
    pretrained = tuned(family, "norm-only")
    stack = pretrained.stack()
    added = {name for group in stack.groups if group.beside for name in group.parameters}
    norms = {
        f"{name}.{leaf}"
        for name, module in pretrained.module.named_modules()
        if "Norm" in type(module).__name__
        for leaf, _ in module.named_parameters(recurse=False)
    }
    assert added == norms
    assert not [name for group in stack.groups if group.beside for name in group.buffers]
    assert torch.equal(outputs_of(pretrained), outputs_of(tiny_pretrained(family)))


def test_statistics_of_batches_stand_still_while_scales_and_offsets_learn() -> None:
    pretrained = tuned("resnet", "norm-only")
    stack = pretrained.stack()
    learn = (*(group.name for group in stack.groups if group.beside), "head")
    set_learning(stack, learn)
    set_modes(stack, learn)
    before = {name: tensor.clone() for name, tensor in pretrained.module.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in pretrained.module.parameters() if p.requires_grad], lr=0.1)
    pretrained.module(**batch_of(pretrained, 0, 1, 2, 3)).square().sum().backward()
    optimizer.step()
    moved = {name for name, tensor in pretrained.module.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved <= {name for name, parameter in pretrained.module.named_parameters() if parameter.requires_grad}
    assert {"backbone.layer1.0.bn2.weight", "backbone.layer4.0.bn2.bias", "backbone.fc.weight"} <= moved
    assert {"backbone.bn1.weight", "backbone.bn1.bias"} <= moved
    assert not any("running" in name or "num_batches" in name for name in moved)


def test_with_blocks_only_the_upper_norms_learn() -> None:
    assert [n for n in tuned("gpt2", "norm-only", blocks=1).stack().names if n.endswith("norms")] == [
        "block 2 norms",
        "norm norms",
    ]
    with pytest.raises(ModelError, match="blocks must be at most 3"):
        tuned("gpt2", "norm-only", blocks=9)
    with pytest.raises(ModelError, match=r"tiny-vgg.*has no normalisation layers"):
        tuned("vgg", "norm-only")


@pytest.mark.parametrize("method", ["norm-only", "bitfit"])
def test_where_the_models_own_parameters_learned_merging_takes_them_as_they_are(method: str) -> None:
    pretrained = learned(tuned("bert", method))
    before = outputs_of(pretrained)
    merge(pretrained)
    assert torch.equal(outputs_of(pretrained), before)
    assert pretrained.stack().names == tiny_pretrained("bert").stack().names
