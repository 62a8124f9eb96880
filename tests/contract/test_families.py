"""What every model family promises, tried on a tiny model of each."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.evaluation.state import differences, state_of
from unfreeze.models import store, text
from unfreeze.models.families import FAMILIES, family_of_config, family_of_timm
from unfreeze.models.image import ImageModel, head_names
from unfreeze.models.load import adapt
from unfreeze.models.pretrained import Batch, Pretrained
from unfreeze.recipe import ModelRecipe
from unfreeze.stack.groups import LayerStack, build_stack

sys.path.insert(0, str(Path(__file__).parent))
from tiny import families, image_source, text_source, tiny_pretrained, tiny_source

ALL, TEXT, IMAGE = families(), families("text"), families("image")
NAMED = {
    *("bert", "gpt2", "roberta", "t5", "xlnet", "distilbert", "deberta", "modernbert", "decoder"),
    *("resnet", "vgg", "inception", "mobilenet", "efficientnet", "vit", "convnext"),
}
SENTENCES = ["good movie", "a bad bank card, was it?", "the fine bank is a poor movie"]


def batch_of(pretrained: Pretrained, rows: int = 3) -> Batch:
    if pretrained.family.modality == "text":
        return pretrained.preprocess.collate([pretrained.preprocess.encode(text) for text in SENTENCES[:rows]])
    generator = torch.Generator().manual_seed(7)
    shape = (pretrained.spec["channels"], pretrained.spec["image_size"], pretrained.spec["image_size"])
    samples = [{"pixel_values": torch.randint(0, 256, shape, generator=generator).byte()} for _ in range(rows)]
    return pretrained.preprocess.collate(samples)


def outputs_of(pretrained: Pretrained) -> Tensor:
    with torch.no_grad():
        return pretrained.module(**batch_of(pretrained))


def differing(trained: Pretrained, loaded: Pretrained) -> list[str]:
    """What the reload gate would say of parameters and buffers, also of those that are made again and not saved."""
    return list(differences(state_of(trained.module), state_of(loaded.module)))


def stack_of(pretrained: Pretrained) -> LayerStack:
    return build_stack(pretrained.module, pretrained.family.patterns)


def blocks(stack: LayerStack) -> list[str]:
    return [name for name in stack.names if name.startswith("block ")]


def body(module: nn.Module) -> dict[str, Tensor]:
    """The state without the head."""
    heads = ("head.",)
    if isinstance(module, ImageModel):
        heads = tuple(f"backbone.{name}." for name in head_names(module.backbone))
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(heads)}


def test_every_named_family_is_there() -> None:
    assert set(ALL) >= NAMED


@pytest.mark.parametrize("name", ALL)
def test_rates_are_a_tenth_of_pretraining_and_have_a_source(name: str) -> None:
    family = FAMILIES.get(name)
    for rates in (family.rates, *family.extras.get("rates", {}).values()):
        assert 0 < rates.fine_tuning <= rates.pretraining / 10 * (1 + 1e-9)
        assert len(rates.source) > 20
    assert family.name == name


@pytest.mark.parametrize("name", ALL)
def test_each_parameter_and_buffer_is_in_exactly_one_group(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    held = Counter(item for group in stack.groups for item in (*group.parameters, *group.buffers))
    module = pretrained.module
    assert set(held) == {n for n, _ in module.named_parameters()} | {n for n, _ in module.named_buffers()}
    assert set(held.values()) == {1}
    assert len(set(stack.names)) == len(stack.names)
    assert len(blocks(stack)) >= 3
    aliases = {n for n, _ in module.named_parameters(remove_duplicate=False)} - set(held)
    assert set(stack.tied) == aliases
    assert set(stack.tied.values()) <= set(held)


@pytest.mark.parametrize("name", ALL)
def test_groups_come_in_the_order_of_the_forward_pass(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    seen: list[str] = []

    def record(group: str) -> Any:
        return lambda *_: seen.append(group) if group not in seen else None

    for group in stack.groups:
        for _, outermost in stack.modules(group):
            for module in outermost.modules():
                module.register_forward_pre_hook(record(group.name))
    outputs_of(pretrained)
    assert seen == list(stack.names)


@pytest.mark.parametrize("name", ALL)
def test_the_last_group_is_the_new_head(name: str) -> None:
    pretrained = tiny_pretrained(name, outputs=5)
    stack = stack_of(pretrained)
    assert stack.names[-1] == "head"
    shapes = [tuple(parameter.shape) for _, parameter in stack.parameters(stack.groups[-1])]
    assert [shape[0] for shape in shapes] == [5] * len(shapes)
    assert outputs_of(pretrained).shape == (3, 5)


@pytest.mark.parametrize("name", ALL)
def test_pretrained_weights_are_kept_and_the_head_follows_from_the_seed(name: str) -> None:
    source = tiny_source(name)
    first, again = (adapt(source, ModelRecipe(), outputs=3, seed=11) for _ in range(2))
    other = adapt(source, ModelRecipe(), outputs=3, seed=12)
    assert source.state is not None
    for key, tensor in body(first.module).items():
        assert torch.equal(tensor, source.state[key]), key
    assert torch.equal(outputs_of(first), outputs_of(again))
    assert not torch.equal(outputs_of(first), outputs_of(other))
    assert first.provenance.sha256 == other.provenance.sha256


@pytest.mark.parametrize("name", ALL)
def test_top_blocks_can_be_dropped(name: str) -> None:
    shorter = tiny_pretrained(name, drop_top=1)
    names = blocks(stack_of(tiny_pretrained(name)))
    assert blocks(stack_of(shorter)) == names[:-1]
    assert outputs_of(shorter).shape == (3, 3)
    source = tiny_source(name)
    assert all(torch.equal(tensor, source.state[key]) for key, tensor in body(shorter.module).items())
    lowest = tiny_pretrained(name, drop_top=len(names) - 1)
    assert outputs_of(lowest).shape == (3, 3)
    with pytest.raises(ModelError, match=f"drop_top must be less than the model's {len(names)} blocks"):
        tiny_pretrained(name, drop_top=len(names))


@pytest.mark.parametrize("name", ALL)
def test_saved_and_loaded_models_agree_to_the_bit(name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"dropout": 0.2, "drop_top": 1}
    pretrained = tiny_pretrained(name, **changes)
    store.save(pretrained, tmp_path / "model")
    loaded = store.load(tmp_path / "model")
    assert torch.equal(outputs_of(loaded), outputs_of(pretrained))
    assert loaded.provenance == pretrained.provenance
    assert loaded.spec == pretrained.spec
    assert loaded.preprocess.config() == pretrained.preprocess.config()
    assert stack_of(loaded).names == stack_of(pretrained).names
    assert differing(pretrained, loaded) == []


@pytest.mark.parametrize("name", TEXT)
def test_a_model_that_is_filled_is_the_one_whose_weights_were_drawn(name: str) -> None:
    """Also where weights are tied, and in what is computed and not saved."""
    spec = tiny_pretrained(name).spec
    drawn, filled = (text.build(spec, 0, empty=empty) for empty in (False, True))
    assert len(list(drawn.parameters())) == len(list(filled.parameters()))
    filled.load_state_dict(drawn.state_dict())
    assert not list(differences(state_of(drawn), state_of(filled)))


@pytest.mark.parametrize("name", ALL)
def test_dropout_is_set_everywhere_and_acts_in_training_only(name: str) -> None:
    pretrained = tiny_pretrained(name, dropout=0.5)
    rates = {layer.p for layer in pretrained.module.modules() if isinstance(layer, nn.Dropout)}
    assert rates <= {0.5, 0.0}
    assert 0.5 in rates
    assert torch.equal(outputs_of(pretrained), outputs_of(pretrained))
    pretrained.module.train()
    for layer in pretrained.module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
    assert not torch.equal(outputs_of(pretrained), outputs_of(pretrained))


@pytest.mark.parametrize("name", ALL)
def test_every_group_gets_a_gradient(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    pretrained.module(**batch_of(pretrained)).sum().backward()
    for group in stack.groups:
        assert any(parameter.grad is not None for _, parameter in stack.parameters(group)), group.name


@pytest.mark.parametrize("name", TEXT)
def test_padding_does_not_change_a_row(name: str) -> None:
    pretrained = tiny_pretrained(name)
    alone = pretrained.preprocess.collate([pretrained.preprocess.encode(SENTENCES[0])])
    with torch.no_grad():
        torch.testing.assert_close(pretrained.module(**alone), outputs_of(pretrained)[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TEXT)
def test_texts_longer_than_the_table_of_positions_can_be_read(name: str) -> None:
    source = tiny_source(name)
    pretrained = adapt(source, ModelRecipe(max_length=100), outputs=3, seed=0)
    sample = pretrained.preprocess.encode("bad " * 300)
    assert pretrained.preprocess.length(sample) == 100
    with torch.no_grad():
        assert pretrained.module(**pretrained.preprocess.collate([sample])).isfinite().all()
    path, offset = source.family.extras.get("positions", (None, 0))
    key = f"backbone.{path}.weight"
    if path and key in source.state:
        table, longer = source.state[key], pretrained.module.state_dict()[key]
        assert len(longer) == 100 + offset
        assert torch.equal(longer[: offset + 1], table[: offset + 1])
        torch.testing.assert_close(longer[-1], table[-1])
        assert longer.min() >= table.min()
        assert longer.max() <= table.max()
    store_free = adapt(source, ModelRecipe(max_length=8), outputs=3, seed=0)
    assert store_free.preprocess.length(store_free.preprocess.encode("bad " * 300)) == 8


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("channels", [1, 4])
def test_first_layer_is_adapted_to_other_channels(name: str, channels: int) -> None:
    colour, other = tiny_pretrained(name), tiny_pretrained(name, channels=channels)
    size = colour.spec["image_size"]
    grey = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = colour.module(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(other.module(grey.expand(-1, channels, -1, -1)), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", IMAGE)
def test_other_image_sizes_can_be_read(name: str) -> None:
    size = 96
    pretrained = tiny_pretrained(name, image_size=size)
    assert batch_of(pretrained)["pixel_values"].shape[-1] == size
    assert outputs_of(pretrained).isfinite().all()
    source = tiny_source(name)
    for key, tensor in body(pretrained.module).items():
        assert key.endswith("pos_embed") or torch.equal(tensor, source.state[key])


def test_position_embeddings_of_an_image_transformer_are_resampled() -> None:
    source = tiny_source("vit")
    pretrained = adapt(source, ModelRecipe(image_size=64), outputs=3, seed=0)
    before, after = source.state["backbone.pos_embed"], pretrained.module.state_dict()["backbone.pos_embed"]
    assert (before.shape[1], after.shape[1]) == (1 + 2 * 2, 1 + 4 * 4)
    assert torch.equal(before[:, 0], after[:, 0])
    torch.testing.assert_close(before[:, 1:].mean(1), after[:, 1:].mean(1), rtol=0.05, atol=2e-3)


def test_image_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="8 x 8 pixels: smaller than one patch"):
        tiny_pretrained("vit", image_size=8)
    with pytest.raises(ModelError, match="30 x 30 pixels"):
        tiny_pretrained("inception", image_size=30)


VARIANTS = {
    "vgg": [("vgg11_bn", {"mlp_ratio": 0.01})],
    "mobilenet": [("mobilenetv2_035", {}), ("mobilenetv1_100", {}), ("mobilenetv4_conv_small_050", {})],
    "vit": [("deit_tiny_distilled_patch16_224", {"embed_dim": 32, "depth": 3, "num_heads": 2})],
    "convnext": [("convnextv2_atto", {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 32)})],
    "resnet": [("resnet50", {"layers": (1, 1, 1, 1), "channels": (4, 8, 8, 8)}), ("unfreeze_tiny_cnn", {})],
    "efficientnet": [("efficientnetv2_rw_t", {})],
}


@pytest.mark.parametrize(("family", "name", "options"), [(f, n, o) for f, many in VARIANTS.items() for n, o in many])
def test_further_image_architectures(family: str, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    assert family_of_timm(f"{name}.some_tag").name == family
    source = image_source(FAMILIES.get(family), 0, name, **options)
    pretrained = adapt(source, ModelRecipe(channels=1, drop_top=1), outputs=2, seed=0)
    assert stack_of(pretrained).names[-1] == "head"
    store.save(pretrained, tmp_path)
    loaded = store.load(tmp_path)
    assert torch.equal(outputs_of(loaded), outputs_of(pretrained))
    assert differing(pretrained, loaded) == []


SMALL = {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
LLAMA_LIKE = {**SMALL, "num_key_value_heads": 1, "head_dim": 16}
LLAMA_LIKE |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
ENCODERS = {"xlm-roberta": SMALL, "camembert": SMALL, "deberta": {**SMALL, "relative_attention": True}}
DECODERS = dict.fromkeys(("mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2", "phi3", "smollm3"), LLAMA_LIKE)
MT5 = {"mt5": {"vocab_size": 96, "d_model": 32, "num_layers": 3, "num_heads": 2, "d_kv": 16, "d_ff": 48}}


@pytest.mark.parametrize(("kind", "options"), [*ENCODERS.items(), *DECODERS.items(), *MT5.items()])
def test_further_text_architectures(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoConfig

    source = text_source(family_of_config(kind), AutoConfig.for_model(kind, **options))
    pretrained = adapt(source, ModelRecipe(drop_top=1), outputs=2, seed=0)
    stack = stack_of(pretrained)
    assert (stack.names[0], len(blocks(stack)), stack.names[-1]) == ("embeddings", 2, "head")
    store.save(pretrained, tmp_path)
    loaded = store.load(tmp_path)
    assert torch.equal(outputs_of(loaded), outputs_of(pretrained))
    assert differing(pretrained, loaded) == []


def test_frequencies_that_follow_the_length_are_no_difference(tmp_path: Path) -> None:
    """The library makes them anew for a long text, and puts the first ones back, under two names, for a short one."""
    import transformers
    from transformers import AutoConfig

    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    name = "rope_parameters" if int(transformers.__version__.split(".")[0]) >= 5 else "rope_scaling"
    options = {**LLAMA_LIKE, "max_position_embeddings": 12, name: rope}
    source = text_source(family_of_config("llama"), AutoConfig.for_model("llama", **options))
    pretrained = adapt(source, ModelRecipe(), outputs=2, seed=0)
    store.save(pretrained, tmp_path)
    with torch.no_grad():
        pretrained.module(**pretrained.preprocess.collate([pretrained.preprocess.encode("bad " * 60)]))
    loaded = store.load(tmp_path)
    assert differing(pretrained, loaded)
    assert torch.equal(outputs_of(loaded), outputs_of(pretrained))
    assert differing(pretrained, loaded) == []


def test_unknown_architectures_name_the_nearest_and_how_to_add_one() -> None:
    with pytest.raises(ModelError, match=r"'roberta'.*unfreeze/models/families"):
        family_of_config("robertaa")
    with pytest.raises(ModelError, match=r"'resnet'.*entry point"):
        family_of_timm("resnest")
