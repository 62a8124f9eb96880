"""Adapters: where they stand, how wide they are, what they compute, and what is said where they cannot be."""

from __future__ import annotations

import copy
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from small import fit_images, fit_text
from test_families import DECODERS, ENCODERS, MT5, VARIANTS
from test_replay import batch_of
from tiny import families, image_source, text_source, tiny_pretrained
from torch import Tensor, nn

import unfreeze
from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods._parse import all_settings
from unfreeze.models.adapters import Adapter
from unfreeze.models.families import FAMILIES, family_of_config
from unfreeze.models.load import adapt
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import tune
from unfreeze.recipe import MethodRecipe, ModelRecipe

AFTER_ATTENTION = {
    **dict.fromkeys(("bert", "roberta", "electra", "deberta"), "attention.output.dense"),
    "distilbert": "attention.out_lin",
    "gpt2": "attn.c_proj",
    "decoder": "self_attn.o_proj",
    "t5": "layer.0.SelfAttention.o",
    "modernbert": "attn.Wo",
    "vit": "attn.proj",
    "xlnet": "rel_attn.layer_norm",
}
AFTER_FEED_FORWARD = {
    **dict.fromkeys(("bert", "roberta", "electra", "deberta"), "output.dense"),
    "distilbert": "ffn.lin2",
    "gpt2": "mlp.c_proj",
    "decoder": "mlp.down_proj",
    "t5": "layer.1.DenseReluDense.wo",
    "modernbert": "mlp.Wo",
    "vit": "mlp.fc2",
    "xlnet": "ff.layer_2",
}
BESIDE_FEED_FORWARD = {
    **dict.fromkeys(("bert", "roberta", "electra", "deberta"), "output"),
    **dict.fromkeys(("gpt2", "decoder", "modernbert", "vit"), "mlp"),
    "distilbert": "ffn",
    "t5": "layer.1.DenseReluDense",
}
CONVOLUTIONAL = sorted(set(families("image")) - {"vit"})


def tuned(name: str, changes: dict[str, Any] | None = None, **options: Any) -> Pretrained:
    pretrained = tiny_pretrained(name, **(changes or {}))
    tune(pretrained, "adapter", options)
    return pretrained


def adapters(pretrained: Pretrained) -> dict[str, Adapter]:
    """By the name of the layer that each is attached to."""
    found = {name: layer for name, layer in pretrained.module.named_modules() if isinstance(layer, Adapter)}
    return {name.removesuffix(".adapter"): layer for name, layer in found.items()}


@cache
def block_names(name: str) -> list[str]:
    return [group for group in tiny_pretrained(name).stack().names if group.startswith("block ")]


def blocks_of(name: str) -> int:
    return len(block_names(name))


def alive(adapter: Adapter) -> None:
    """Weights that add something."""
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.5)


def test_families_are_all_spoken_of() -> None:
    assert set(AFTER_ATTENTION) == set(AFTER_FEED_FORWARD) == set(families()) - set(CONVOLUTIONAL)


@pytest.mark.parametrize("name", AFTER_ATTENTION)
@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
def test_every_block_of_a_transformer_has_them_at_the_named_layers(name: str, placement: str) -> None:
    expected = {
        "houlsby": (AFTER_ATTENTION[name], AFTER_FEED_FORWARD[name]),
        "pfeiffer": (AFTER_FEED_FORWARD[name],),
        "parallel": (BESIDE_FEED_FORWARD.get(name),),
    }[placement]
    if None in expected:
        with pytest.raises(ModelError, match=f"'parallel' does not exist in the family '{name}'.*houlsby or pfeiffer"):
            tuned(name, placement=placement)
        return
    pretrained = tuned(name, placement=placement)
    found = adapters(pretrained)
    assert len(found) == blocks_of(name) * len(expected) == 3 * len(expected)
    roots = {layer.removesuffix(f".{path}") for layer in found for path in expected if layer.endswith(f".{path}")}
    if placement == "houlsby":  # BERT's feed-forward part ends as its attention does
        roots = {root for root in roots if not root.endswith(".attention")}
    assert set(found) == {f"{root}.{path}" for root in roots for path in expected}
    assert len(roots) == 3


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.parametrize("placement", ["pfeiffer", "parallel"])
def test_every_block_of_a_convolutional_network_has_one(name: str, placement: str) -> None:
    pretrained = tuned(name, placement=placement)
    found = adapters(pretrained)
    assert len(found) == blocks_of(name)
    stack = pretrained.stack()
    beside = [group.beside for group in stack.groups if group.beside]
    assert beside == block_names(name)
    for adapter in found.values():
        assert isinstance(adapter.down, nn.Conv2d)
        assert adapter.down.groups == adapter.down.out_channels
        assert adapter.down.kernel_size == (3, 3)
    with pytest.raises(ModelError, match=f"'houlsby' does not exist in the family '{name}'.*pfeiffer"):
        tuned(name, placement="houlsby")


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS, *MT5])
def test_further_text_architectures(kind: str, placement: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **{**ENCODERS, **DECODERS, **MT5}[kind])
    pretrained = adapt(text_source(family_of_config(kind), config), ModelRecipe(), outputs=2, seed=0)
    unchanged(pretrained, 3 * (1 + (placement == "houlsby")), placement=placement)


@pytest.mark.parametrize("placement", ["pfeiffer", "parallel"])
@pytest.mark.parametrize(("family", "name", "options"), [(f, n, o) for f, many in VARIANTS.items() for n, o in many])
def test_further_image_architectures(family: str, name: str, options: dict[str, Any], placement: str) -> None:
    source = image_source(FAMILIES.get(family), 0, name, **options)
    pretrained = adapt(source, ModelRecipe(channels=1), outputs=2, seed=0)
    blocks = [group for group in pretrained.stack().names if group.startswith("block ")]
    unchanged(pretrained, len(blocks), placement=placement)


def unchanged(pretrained: Pretrained, many: int, **options: Any) -> None:
    """So many adapters, and the same outputs."""
    batch = batch_of(pretrained, 0, 1)
    with torch.no_grad():
        before = pretrained.module(**batch)
        tune(pretrained, "adapter", options)
        assert torch.equal(pretrained.module(**batch), before)
    assert len(adapters(pretrained)) == many


@pytest.mark.parametrize("name", families())
def test_names_and_values_of_the_models_own_weights_stay(name: str) -> None:
    before = tiny_pretrained(name).module.state_dict()
    after = tuned(name).module.state_dict()
    assert [key for key in after if ".adapter." not in key] == list(before)
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_the_plan_names_the_layers() -> None:
    for name, options, lines in (
        (
            "bert",
            {},
            [
                "pfeiffer adapters, 16 times narrower than what they read, at 3 layers:",
                r".*output.dense \(\d+ to 32\), 3 times",
            ],
        ),
        (
            "bert",
            {"placement": "parallel", "blocks": 1},
            ["parallel adapters, 16 .* at 1 layer:", r".*\.output \(BertOutput\)"],
        ),
        ("resnet", {"reduction": 4}, [r"pfeiffer adapters, 4 times .* at \d+ layers:", r"layer1.*"]),
    ):
        pretrained = tiny_pretrained(name)
        tune(pretrained, "adapter", options)
        assert len(pretrained.tuned) >= len(lines)
        assert all(re.fullmatch(line, said) for line, said in zip(lines, pretrained.tuned, strict=False)), (
            pretrained.tuned
        )


def test_the_argument_says_how_narrow_the_bottleneck_is() -> None:
    for reduction, width in ((1, 32), (4, 8), (16, 2), (1000, 1)):
        found = adapters(tuned("bert", reduction=reduction))
        assert {adapter.down.out_features for adapter in found.values()} == {width}  # type: ignore[union-attr]
    assert all_settings(MethodRecipe(name="adapter:8"))["reduction"] == 8
    assert all_settings(MethodRecipe(name="adapter"))["reduction"] == 16
    with pytest.raises(RecipeError, match="reduction must be a whole number of at least 1"):
        all_settings(MethodRecipe(name="adapter:0"))
    with pytest.raises(RecipeError, match="Did you mean 'pfeiffer'"):
        all_settings(MethodRecipe(name="adapter", options={"placement": "pfeifer"}))


def test_a_convolution_is_narrowed_to_a_width_that_divides_its_channels() -> None:
    found = adapters(tuned("resnet", reduction=5))  # of 8, 16, 24 and 32 channels
    assert [(a.down.in_channels, a.down.out_channels) for a in found.values()] == [  # type: ignore[union-attr]
        (8, 1),
        (16, 2),
        (24, 4),
        (32, 4),
    ]


@pytest.mark.parametrize("name", ["bert", "decoder", "resnet", "vgg"])
def test_only_the_topmost_blocks_may_have_them(name: str) -> None:
    pretrained = tuned(name, blocks=2)
    groups = [group.beside for group in pretrained.stack().groups if group.beside]
    assert groups == block_names(name)[-2:]
    many = blocks_of(name)
    with pytest.raises(ModelError, match=f"blocks must be at most {many}, .* Got {many + 1} instead"):
        tuned(name, blocks=many + 1)


def test_a_block_alone_in_its_model_has_its_own() -> None:
    """The list around it then owns all of its parameters, and can hold no adapter."""
    for name in ("bert", "t5", "vit", "convnext", "resnet"):
        pretrained = tuned(name, {"drop_top": blocks_of(name) - 1})
        assert len(adapters(pretrained)) == 1
        assert sum(bool(group.beside) for group in pretrained.stack().groups) == 1


def of_layer(pretrained: Pretrained, path: str) -> tuple[nn.Module, nn.Module, Adapter]:
    """The layer as it was, as it is, and its adapter, which now adds something."""
    layer = pretrained.module.get_submodule(path)
    adapter = layer.adapter
    assert isinstance(adapter, Adapter)
    alive(adapter)
    plain = tiny_pretrained(pretrained.family.name).module.get_submodule(path)
    return plain, layer, adapter


def by_hand(adapter: Adapter, input: Tensor) -> Tensor:
    down, up = adapter.down, adapter.up
    hidden = nn.functional.linear(input, down.weight, down.bias)  # type: ignore[arg-type]
    return nn.functional.linear(hidden.relu(), up.weight, up.bias)  # type: ignore[arg-type]


@torch.no_grad()
def test_what_an_adapter_computes_after_before_and_beside_a_layer() -> None:
    x, narrow = torch.randn(2, 5, 32), torch.randn(2, 5, 48)
    root = "backbone.encoder.layer.1"
    plain, layer, adapter = of_layer(tuned("bert"), f"{root}.output.dense")
    made = plain(narrow)
    torch.testing.assert_close(layer(narrow), made + by_hand(adapter, made))

    plain, layer, adapter = of_layer(tuned("bert", placement="parallel", scale=4.0), f"{root}.output")
    dense = plain.dense(narrow)  # type: ignore[operator]
    expected = plain.LayerNorm(dense + x + 4 * by_hand(adapter, x))  # type: ignore[operator]
    torch.testing.assert_close(layer(narrow, x), expected)

    plain, layer, adapter = of_layer(tuned("gpt2", placement="parallel"), "backbone.h.0.mlp")
    torch.testing.assert_close(layer(x), plain(x) + by_hand(adapter, x))

    plain, layer, adapter = of_layer(tuned("xlnet", placement="houlsby"), "backbone.layer.0.rel_attn.layer_norm")
    torch.testing.assert_close(layer(x), plain(x + by_hand(adapter, x)))


@torch.no_grad()
def test_what_a_convolutional_adapter_computes() -> None:
    x = torch.randn(2, 8, 8, 8)
    plain, layer, adapter = of_layer(tuned("resnet"), "backbone.layer2.0")
    made = plain(x)
    assert made.shape == (2, 16, 4, 4)
    torch.testing.assert_close(layer(x), made + adapter.up(adapter.down(made).relu()))
    plain, layer, adapter = of_layer(tuned("resnet", placement="parallel"), "backbone.layer2.0")
    torch.testing.assert_close(layer(x), plain(x) + adapter.up(adapter.down(x).relu()))


@pytest.mark.parametrize(("nonlinearity", "kind"), [("gelu", nn.GELU), ("silu", nn.SiLU), ("tanh", nn.Tanh)])
def test_settings_reach_the_bottleneck(nonlinearity: str, kind: type) -> None:
    for name in ("bert", "resnet"):
        for adapter in adapters(tuned(name, nonlinearity=nonlinearity, dropout=0.25, scale=2.0)).values():
            assert isinstance(adapter.nonlinearity, kind)
            assert adapter.dropout.p == 0.25
            assert adapter.scale == 2.0


def test_adapters_start_alike_each_time_and_unlike_each_other() -> None:
    one, again = (adapters(tuned("bert")) for _ in range(2))
    for name, adapter in one.items():
        assert torch.equal(adapter.down.weight, again[name].down.weight)  # type: ignore[arg-type]
        assert not adapter.up.weight.any()  # type: ignore[operator]
    first, second, _ = one.values()
    assert not torch.equal(first.down.weight, second.down.weight)  # type: ignore[arg-type]


def test_the_random_numbers_of_the_run_are_left_alone() -> None:
    pretrained = tiny_pretrained("resnet")
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    tune(pretrained, "adapter", {})
    assert torch.equal(torch.rand(4), expected)


@torch.no_grad()
def test_a_copy_is_a_copy_of_the_adapter_too() -> None:
    pretrained = tuned("resnet")
    for adapter in adapters(pretrained).values():
        alive(adapter)
    x = torch.randn(2, 3, 32, 32)
    copied = copy.deepcopy(pretrained.module)
    assert torch.equal(copied(x), pretrained.module(x))
    for parameter in pretrained.module.parameters():
        parameter.add_(1.0)
    assert not torch.allclose(copied(x), pretrained.module(x))


def test_modes_and_statistics_are_as_before_the_model_was_looked_at() -> None:
    pretrained = tiny_pretrained("resnet")
    pretrained.module.train()
    pretrained.module.get_submodule("backbone.bn1").eval()
    before = {name: (layer.training, layer) for name, layer in pretrained.module.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in pretrained.module.named_buffers()}
    tune(pretrained, "adapter", {})
    assert all(layer.training is mode for mode, layer in before.values())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in pretrained.module.named_buffers())


def test_whole_runs_of_texts_and_of_pictures(home: Path, tmp_path: Path) -> None:
    words = fit_text(home, tmp_path / "words", method="adapter:4", method__options={"placement": "houlsby"}, epochs=3)
    images = fit_images(home, tmp_path / "images", method="adapter:4", method__options={"blocks": 2})
    for run, groups in ((words, 3), (images, 2)):
        assert run.result["gate"]["passed"]
        assert all(entry["unchanged"] for entry in run.result["ledger"])
        (phase,) = run.result["phases"]
        assert len(phase["learn"]) == groups + 1
        assert run.result["learned_parameters"] < run.result["parameters"] / 3
        assert len(adapters(unfreeze.load(run.path).pretrained)) == groups * (2 if run is words else 1)
    assert words.recipe.method.options["reduction"] == 4
    assert [row["prediction"] for row in unfreeze.load(words.path).predict(["the rain is good", "my card"])]
