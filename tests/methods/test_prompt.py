"""Prompt tuning on tiny models of every family, as whole runs, and as peft reads it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small import KillAt, Killed, fit_text, resume, weights
from test_prefix import TEXTS, features_in_peft, outputs_of, own_features, plain_backbone, technique_writes
from tiny import families, tiny_pretrained
from torch import Tensor, nn

from unfreeze.errors import ModelError, RecipeError
from unfreeze.models import store
from unfreeze.models.pretrained import Batch, Pretrained
from unfreeze.models.techniques import fold, tune
from unfreeze.models.virtual import VirtualTokens, starting_ids

TEXT = families("text")
CONVOLUTIONAL = sorted(set(families("image")) - {"vit"})
SMALL = {"length": 4}


def tuned(family: str, options: dict[str, Any] | None = None, **changes: Any) -> Pretrained:
    pretrained = tiny_pretrained(family, **changes)
    tune(pretrained, "prompt", SMALL | (options or {}))
    return pretrained


def prompts_of(pretrained: Pretrained) -> list[VirtualTokens]:
    return [child for child in pretrained.module.modules() if isinstance(child, VirtualTokens)]


def embeddings_of(pretrained: Pretrained) -> Any:
    return pretrained.module.backbone.get_input_embeddings()  # type: ignore[operator, union-attr]


# ------------------------------------------------------------------------------------------------ texts


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
@pytest.mark.parametrize("name", TEXT)
def test_a_rows_outputs_depend_on_no_other_row_and_no_padding(name: str, pooling: str) -> None:
    pretrained = tuned(name, pooling=pooling)
    together = outputs_of(pretrained)
    alone = torch.cat([outputs_of(pretrained, [text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", TEXT)
def test_a_prompt_of_words_reads_like_these_words(name: str) -> None:
    """The definition: learned tokens that equal real ones are real ones, in the same places."""
    pretrained = tuned(name, {"text": "the great bank"}, pooling="last")
    tokenizer = pretrained.preprocess.tokenizer  # type: ignore[attr-defined]
    front = starting_ids(tokenizer, 4, "the great bank")
    ids = pretrained.preprocess.encode("good movie")["input_ids"]
    both = torch.cat([front, ids])[None]
    plain = tiny_pretrained(name, pooling="last")
    with torch.no_grad():
        expected = plain.module(input_ids=both, attention_mask=torch.ones_like(both))
        found = pretrained.module(input_ids=ids[None], attention_mask=torch.ones_like(ids[None]))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_the_head_reads_the_real_tokens_only(pooling: str) -> None:
    """Features of the virtual tokens may be anything."""
    pretrained = tuned("bert", pooling=pooling)
    before = outputs_of(pretrained)
    backbone = pretrained.module.backbone

    def spoiled(_: nn.Module, __: Any, output: Any) -> Any:
        output.last_hidden_state[:, :4] = 1e6
        return output

    hook = backbone.register_forward_hook(spoiled)  # type: ignore[union-attr]
    assert torch.equal(outputs_of(pretrained), before)
    hook.remove()


@pytest.mark.parametrize("name", TEXT)
def test_the_prompt_is_a_group_of_its_own_at_the_bottom(name: str) -> None:
    stack = tuned(name).stack()
    assert [group.name for group in stack.groups if group.beside] == ["embeddings prompt"]
    assert stack.names[:2] == ("embeddings prompt", "embeddings")
    (parameter,) = (value for _, value in stack.parameters(stack.groups[0]))
    assert parameter.shape[0] == 4


@pytest.mark.parametrize("start", ["vocabulary", "text", "random"])
def test_it_begins_as_said_and_in_its_own_unit(start: str) -> None:
    options = {"start": start, "length": 9} | ({"text": "good movie"} if start == "text" else {})
    pretrained = tuned("bert", options)
    table = embeddings_of(pretrained).weight
    (prompt,) = prompts_of(pretrained)
    rows = prompt().detach()
    distance = torch.cdist(rows, table.detach()).min(dim=1).values
    assert bool((distance < 1e-4).all()) is (start != "random")
    assert float(prompt.tokens.detach().square().mean().sqrt()) == pytest.approx(1.0, rel=0.25)
    if start == "text":
        assert torch.allclose(rows[0], rows[2], atol=1e-6)


def test_the_plan_names_the_layers() -> None:
    assert tuned("bert").tuned == [
        "4 learned tokens enter at 1 layer:",
        "embeddings.word_embeddings (96 to 32)",
    ]
    assert tuned("vit", {"blocks": 2}).tuned == [
        "4 learned tokens enter at 2 layers:",
        "blocks.* (PromptedBlock), 2 times",
    ]


def test_texts_get_shorter_where_positions_run_out() -> None:
    pretrained = tuned("bert")
    assert pretrained.spec["max_length"] == pretrained.preprocess.config()["max_length"] == 60
    assert outputs_of(pretrained, ["good " * 100]).isfinite().all()
    assert tuned("bert", max_length=60).spec["max_length"] == 60
    assert tuned("decoder").spec["max_length"] == 64
    with pytest.raises(ModelError, match=r"has 64 positions for 4 virtual tokens and model.max_length = 61"):
        tuned("bert", max_length=61)
    with pytest.raises(ModelError, match=r"method.options.length smaller"):
        tuned("bert", {"length": 62})


@pytest.mark.parametrize("name", ["bert", "electra", "t5", "gpt2", "decoder"])
def test_folding_changes_nothing_beyond_rounding(name: str, tmp_path: Path) -> None:
    pretrained = tuned(name, {"reparameterise": True, "hidden": 6})
    with torch.no_grad():
        for parameter in prompts_of(pretrained)[0].parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    before = outputs_of(pretrained)
    assert fold(pretrained)
    assert not any(".network." in key for key in pretrained.module.state_dict())
    assert torch.allclose(outputs_of(pretrained), before, atol=1e-6)
    store.save(pretrained, tmp_path)
    assert torch.equal(outputs_of(store.load(tmp_path)), outputs_of(pretrained))


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "electra", "gpt2", "decoder", "t5", "modernbert"])
def test_peft_computes_the_same_features(name: str, tmp_path: Path) -> None:
    base = copy.deepcopy(tiny_pretrained(name).module.backbone)
    pretrained = tuned(name, {"start": "random"})
    technique_writes(pretrained, tmp_path)
    theirs, mask = features_in_peft(base, tmp_path, pretrained)  # type: ignore[arg-type]
    mine, seen = own_features(pretrained), mask.bool()
    assert torch.allclose(theirs[:, 4:][seen], mine[seen], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"deep": True}, ModelError, "method.options.deep is for images.*prefix"),
        ({"blocks": 1}, ModelError, "method.options.blocks is for images.*prefix"),
        ({"start": "text"}, RecipeError, "method.options.text must be given"),
        ({"start": "vocabulary", "text": "good"}, RecipeError, "Got 'vocabulary' instead"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        tuned("bert", options)


# ------------------------------------------------------------------------------------------------ images


def images(pretrained: Pretrained, rows: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(7)
    shape = (pretrained.spec["channels"], pretrained.spec["image_size"], pretrained.spec["image_size"])
    samples = [{"pixel_values": torch.randint(0, 256, shape, generator=draw).byte()} for _ in range(rows)]
    return pretrained.preprocess.collate(samples)


def seen_by(pretrained: Pretrained, rows: int = 3) -> Tensor:
    with torch.no_grad():
        return pretrained.module.eval()(**images(pretrained, rows))


def by_definition(pretrained: Pretrained, plain: Pretrained, deep: bool) -> Tensor:
    """A plain vision transformer whose tokens are put in and taken out by hand."""
    vit: Any = plain.module.backbone
    place = vit.num_prefix_tokens
    prompts = [prompt() for prompt in prompts_of(pretrained)]
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images(plain)["pixel_values"])))
    front, patches = tokens[:, :place], tokens[:, place:]
    for number, block in enumerate(vit.blocks):
        if deep or number == 0:
            prompt = prompts[number].expand(len(tokens), -1, -1)
        both = block(torch.cat([front, prompt, patches], dim=1))
        front, prompt, patches = both[:, :place], both[:, place : place + 4], both[:, place + 4 :]
    outputs: Tensor = vit.forward_head(vit.norm(torch.cat([front, patches], dim=1)))
    return outputs


@pytest.mark.parametrize("deep", [True, False])
def test_an_image_is_read_with_the_tokens_as_defined(deep: bool) -> None:
    pretrained = tuned("vit", {"deep": deep})
    with torch.no_grad():
        expected = by_definition(pretrained, tiny_pretrained("vit"), deep)
    assert torch.allclose(seen_by(pretrained), expected, atol=1e-5)
    assert not torch.allclose(seen_by(tiny_pretrained("vit")), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({}, ["block 0 prompt", "block 1 prompt", "block 2 prompt"]),
        ({"blocks": 2}, ["block 1 prompt", "block 2 prompt"]),
        ({"deep": False}, ["block 0 prompt"]),
    ],
)
def test_tokens_lie_in_the_blocks_that_they_enter(options: dict[str, Any], groups: list[str]) -> None:
    stack = tuned("vit", options).stack()
    assert [group.name for group in stack.groups if group.beside] == groups


def test_an_image_reads_the_same_alone() -> None:
    pretrained = tuned("vit")
    assert torch.allclose(seen_by(pretrained)[:1], seen_by(pretrained, 1), atol=1e-5)


def test_dropped_blocks_get_no_tokens() -> None:
    for deep in (True, False):
        pretrained = tuned("vit", {"deep": deep}, drop_top=1)
        assert len(prompts_of(pretrained)) == (2 if deep else 1)
        assert seen_by(pretrained).shape == (3, 3)


@pytest.mark.parametrize("deep", [True, False])
def test_prompts_of_images_are_folded_and_loaded_again(deep: bool, tmp_path: Path) -> None:
    pretrained = tuned("vit", {"deep": deep, "reparameterise": True, "hidden": 6})
    with torch.no_grad():
        for prompt in prompts_of(pretrained):
            for parameter in prompt.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    before = seen_by(pretrained)
    assert fold(pretrained)
    assert torch.allclose(seen_by(pretrained), before, atol=1e-5)
    store.save(pretrained, tmp_path)
    assert torch.equal(seen_by(store.load(tmp_path)), seen_by(pretrained))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_networks_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError, match=f"'{name}' has none"):
        tuned(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deep": False, "blocks": 1}, "needs method.options.deep"),
        ({"blocks": 4}, "at most the 3 blocks of 'tiny-vit'. Got 4"),
        ({"start": "vocabulary"}, "'vocabulary' is for texts"),
        ({"text": "good"}, "'text' is for texts"),
    ],
)
def test_what_images_cannot_have_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        tuned("vit", options)


def test_prompts_of_images_have_no_layout_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no layout for the prompts of images"):
        technique_writes(tuned("vit"), tmp_path)


# ------------------------------------------------------------------------------------------------ whole runs

RUN: dict[str, Any] = {"method": "prompt:4", "epochs": 2, "method__options": {"reparameterise": True, "hidden": 8}}


def test_a_run_saves_the_folded_prompt_and_the_head_only(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", **RUN)
    assert run.result["gate"]["state"] == "identical"
    prompt = "backbone.embeddings.word_embeddings.prompt"
    assert weights(run).keys() == {f"{prompt}.tokens", f"{prompt}.unit", "head.weight", "head.bias"}
    pretrained = store.load(run.path / "model")
    theirs, mask = features_in_peft(plain_backbone(home), run.path / "model" / "peft", pretrained)
    seen = mask.bool()
    assert torch.allclose(theirs[:, 4:][seen], own_features(pretrained)[seen], atol=1e-4)


def test_interrupted_it_comes_to_the_same_weights(home: Path, tmp_path: Path) -> None:
    whole = fit_text(home, tmp_path / "whole", **RUN)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "part", progress=KillAt(8), training__checkpoint_steps=2, **RUN)
    part = resume(tmp_path / "part")
    mine, theirs = weights(part), weights(whole)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
