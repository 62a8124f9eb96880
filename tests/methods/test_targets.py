"""Which layers a method's patterns mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from small import BASE
from tiny import tiny_pretrained

import unfreeze
from unfreeze.cli import main
from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods import lora
from unfreeze.methods._targets import (
    Targets,
    ends,
    find_targets,
    layers_of,
    left_out_words,
    linear_or_convolution,
    means,
    words,
)


def found(family: str, patterns: list[str] | None = None, blocks: int | None = None) -> Targets:
    return find_targets(tiny_pretrained(family), patterns, blocks, lora.refusal, linear_or_convolution)


PARTS = some.lists(some.from_regex(r"[a-z][a-z0-9_]{0,4}|\d{1,2}", fullmatch=True), min_size=1, max_size=5)


@given(PARTS, some.data())
def test_a_name_is_meant_by_each_of_its_ends_and_by_no_other_part(parts: list[str], data: some.DataObject) -> None:
    name = ".".join(parts)
    start = data.draw(some.integers(0, len(parts) - 1))
    assert means(".".join(parts[start:]), name)
    assert means(f"backbone.{name}", name)
    assert not means(f"backbone.x.{name}", name)
    assert not means(f"{name}.x", name)
    assert not means(f"x{parts[-1]}", name) or f"x{parts[-1]}" == name


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("query", "encoder.layer.0.attention.self.query", True),
        ("self.query", "encoder.layer.0.attention.self.query", True),
        ("uery", "encoder.layer.0.attention.self.query", False),
        (r"encoder\.layer\.[01]\..*query", "encoder.layer.1.attention.self.query", True),
        (r"encoder\.layer\.[01]\..*query", "encoder.layer.2.attention.self.query", False),
        (r".*(query|key)", "encoder.layer.2.attention.self.key", True),
        ("conv1", "layer1.0.conv1", True),
        ("backbone.conv1", "layer1.0.conv1", False),
        ("backbone.conv1", "conv1", True),
    ],
)
def test_what_a_pattern_means(pattern: str, name: str, meant: bool) -> None:
    assert means(pattern, name) is meant


@pytest.mark.parametrize(
    ("family", "inside", "outside"),
    [
        ("bert", {"attention.self.query", "intermediate.dense", "output.dense"}, {"embeddings.word_embeddings"}),
        ("gpt2", {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}, {"wte"}),
        ("t5", {"SelfAttention.q", "DenseReluDense.wi", "DenseReluDense.wo"}, {"shared"}),
        ("resnet", {"conv1", "conv2", "layer2.0.downsample.0"}, {"fc"}),
        ("vit", {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}, {"patch_embed.proj", "head"}),
        ("xlnet", {"ff.layer_1", "ff.layer_2"}, {"rel_attn"}),
    ],
)
def test_by_default_all_linear_layers_and_convolutions_of_the_blocks(
    family: str, inside: set[str], outside: set[str]
) -> None:
    targets = found(family)
    assert {end for end in inside if not any(means(end, name) for name in targets.names)} == set()
    assert not outside & set(targets.names)
    assert {layer.group.split()[0] for layer in targets.layers} == {"block"}
    assert not targets.left_out


def test_the_stems_convolution_is_not_meant_by_a_name_that_stands_in_the_blocks_too() -> None:
    targets = found("resnet", ["conv1"])
    assert targets.names == [f"layer{number}.0.conv1" for number in (1, 2, 3, 4)]
    assert left_out_words(targets) == [
        "left as they are: 1 layer, outside the blocks, where only `backbone.` and the whole name mean one (conv1)"
    ]
    assert found("resnet", ["backbone.conv1"]).names == ["conv1"]
    assert found("vit", ["patch_embed.proj"]).names == ["patch_embed.proj"]  # stands nowhere else


def test_grouped_convolutions_are_left_as_they_are_and_named() -> None:
    targets = found("mobilenet")
    left = {layer.name for layer, _ in targets.left_out}
    assert left
    assert all(name.endswith("conv_dw") for name in left)
    assert not left & set(targets.names)
    assert any("11 layers, a grouped convolution" in line and "conv_dw" in line for line in left_out_words(targets))


def test_only_the_topmost_blocks() -> None:
    assert {layer.group for layer in found("bert", blocks=1).layers} == {"block 2"}
    assert {layer.group for layer in found("bert", ["query"], blocks=2).layers} == {"block 1", "block 2"}
    with pytest.raises(ModelError, match=r"blocks must be at most 3, the number of blocks of 'tiny-bert'. Got 4"):
        found("bert", blocks=4)
    with pytest.raises(RecipeError, match="is no layer within the topmost blocks"):
        found("vit", ["patch_embed.proj"], blocks=1)


@pytest.mark.parametrize(
    ("family", "pattern", "said"),
    [
        ("bert", "querry", "'querry' is no layer below the head. Did you mean 'query'?"),
        ("bert", "qkv", "is no layer below the head. Known: attention.output.dense, attention.self.key"),
        ("bert", "([", "is no name and no regular expression"),
        ("bert", "head", "'head' is no layer below the head"),
        ("resnet", "fc", "'fc' is no layer below the head"),
        ("bert", ".*attention.*", r"matches 15 layers, of which 3 cannot be changed.*LayerNorm \(a LayerNorm\)"),
        ("bert", ".*attention.*", "Of the same pattern these can: attention.self.query"),
        ("mobilenet", "conv_dw", "matches 11 layers, of which 11 cannot be changed.*grouped convolution"),
        ("bert", "word_embeddings", "cannot be changed: embeddings.word_embeddings \\(a Embedding\\)"),
    ],
)
def test_what_means_nothing_or_cannot_be_changed_is_refused(family: str, pattern: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        found(family, [pattern])


def test_all_problems_come_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        found("bert", ["querry", "value", "LayerNorm"])
    assert len(caught.value.problems) == 2
    with pytest.raises(RecipeError, match="at least one layer"):
        found("bert", [])


def test_layers_hold_weights_themselves_and_none_is_the_heads() -> None:
    pretrained = tiny_pretrained("resnet")
    layers = layers_of(pretrained)
    assert {layer.group for layer in layers} == set(pretrained.stack().names) - {"head"}
    assert all(list(layer.module._parameters) or list(layer.module._buffers) for layer in layers)


def test_lines_tell_names_shapes_and_numbers() -> None:
    assert words(found("bert", ["query", "output.dense"]).layers) == [
        "encoder.layer.*.attention.self.query (32 to 32), 3 times",
        "encoder.layer.*.attention.output.dense (32 to 32), 3 times",
        "encoder.layer.*.output.dense (48 to 32), 3 times",
    ]
    assert words(found("resnet", ["layer2.0.conv1"]).layers) == ["layer2.*.conv1 (8 to 16 channels, 3 x 3)"]
    assert ends(found("gpt2").layers) == ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]


def test_the_plan_lists_what_matched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**BASE, "method__options": {"rank": 2, "targets": ["query", "value"]}, "epochs": 1}
    made = unfreeze.plan(home / "table.csv", str(home / "bert"), method="lora", target="label", **options)
    assert made.tuning == [
        "updates of rank 2, alpha 2, beside 6 layers:",
        "encoder.layer.*.attention.self.query (16 to 16), 3 times",
        "encoder.layer.*.attention.self.value (16 to 16), 3 times",
    ]
    assert made.recipe.method.options["alpha"] == 2
    assert made.reasons["method.options"] == "alpha: decided by the method"
    words_ = ["plan", str(home / "table.csv"), "--model", str(home / "bert"), "--method", "lora:2", "--epochs", "1"]
    assert main([*words_, "--target", "label", "--set", 'method.options.targets=["query"]']) == 0
    assert "encoder.layer.*.attention.self.query (16 to 16), 3 times" in capsys.readouterr().out
    assert main([*words_, "--target", "label", "--set", 'method.options.targets=["querry"]']) == 2
    assert "Did you mean 'query'?" in capsys.readouterr().err
