"""Prefix tuning on tiny models of every family, as whole runs, and as peft reads it."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small import BASE, KillAt, Killed, fit_text, resume, weights
from tiny import families, tiny_pretrained
from torch import Tensor, nn

from unfreeze.errors import ModelError, RecipeError
from unfreeze.models import store
from unfreeze.models.kernels import fast_kernels
from unfreeze.models.prefixes import Prefix, look
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import fold, tune
from unfreeze.models.virtual import starting_ids
from unfreeze.stack.working import make_working

OWN_ATTENTION = {"xlnet", "deberta"}
WORKING = sorted(set(families("text")) - OWN_ATTENTION)
TABLES = ["bert", "roberta", "electra", "gpt2"]
"""Families with a table of positions that peft can give a prefix."""

TEXTS = ["good movie", "a bad bank card, was it?", "the fine bank is a poor movie was a great card"]
SMALL = {"length": 4, "gate": False}


def tuned(family: str, options: dict[str, Any] | None = None, **changes: Any) -> Pretrained:
    pretrained = tiny_pretrained(family, **changes)
    tune(pretrained, "prefix", SMALL | (options or {}))
    return pretrained


def moved(pretrained: Pretrained) -> Pretrained:
    """With other numbers in whatever was added, as if it had learned."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in pretrained.module.named_parameters():
            if ".prefix." in name:
                parameter += 0.5 * torch.randn(parameter.shape, generator=draw)
    return pretrained


def outputs_of(pretrained: Pretrained, texts: list[str] = TEXTS, module: nn.Module | None = None) -> Tensor:
    batch = pretrained.preprocess.collate([pretrained.preprocess.encode(text) for text in texts])
    with torch.no_grad():
        return (module or pretrained.module).eval()(**batch)


def prefixes_of(pretrained: Pretrained) -> list[Prefix]:
    return [child for child in pretrained.module.modules() if isinstance(child, Prefix)]


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("name", WORKING)
def test_a_rows_outputs_depend_on_no_other_row_and_no_padding(name: str, gate: bool) -> None:
    pretrained = moved(tuned(name, {"gate": gate}))
    together = outputs_of(pretrained)
    alone = torch.cat([outputs_of(pretrained, [text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", WORKING)
def test_every_number_of_the_prefix_matters_to_every_row(name: str) -> None:
    pretrained = moved(tuned(name))
    before = outputs_of(pretrained)
    for prefix in prefixes_of(pretrained):
        with torch.no_grad():
            prefix.virtual.tokens[-1] += 1.0
        after = outputs_of(pretrained)
        assert bool(((after - before).abs().amax(dim=1) > 1e-6).all())
        before = after


@pytest.mark.parametrize("name", WORKING)
def test_behind_a_closed_gate_nothing_changes(name: str) -> None:
    assert torch.equal(outputs_of(tuned(name, {"gate": True})), outputs_of(tiny_pretrained(name)))


@pytest.mark.parametrize("name", WORKING)
def test_the_fast_kernels_agree(name: str) -> None:
    pretrained = moved(tuned(name))
    working = make_working(pretrained.stack(), "float32", fast_kernels(torch.device("cpu")))
    assert {config._attn_implementation for config in _configs(working.module)} == {"prefix+unfreeze"}
    assert {config._attn_implementation for config in _configs(pretrained.module)} == {"prefix+sdpa"}


def _configs(module: nn.Module) -> list[Any]:
    return [child.config for child in module.modules() if hasattr(child, "config")]


@pytest.mark.parametrize("name", WORKING)
def test_it_begins_as_what_the_layers_make_of_words(name: str) -> None:
    """Also grouped heads, and heads that are narrower than the layer."""
    base, pretrained = tiny_pretrained(name), tuned(name)
    tokenizer = base.preprocess.tokenizer  # type: ignore[attr-defined]
    seen = look(base.module.backbone, starting_ids(tokenizer, 4, None))  # type: ignore[arg-type]
    made = prefixes_of(pretrained)
    assert len(seen) == len(made) == 3
    for layer, prefix in zip(seen, made, strict=True):
        keys, values = prefix()
        assert torch.allclose(keys, layer.keys_GPD, atol=1e-5)
        assert torch.allclose(values, layer.values_GPD, atol=1e-5)
        assert float(prefix.virtual.tokens.detach().square().mean()) == pytest.approx(1.0, rel=0.01)


def test_it_begins_as_the_words_of_a_text() -> None:
    first, again, other = (tuned("bert", {"text": text}) for text in ("good movie", "good  movie", "poor bank"))
    assert torch.equal(prefixes_of(first)[0].virtual.tokens, prefixes_of(again)[0].virtual.tokens)
    assert not torch.equal(prefixes_of(first)[0].virtual.tokens, prefixes_of(other)[0].virtual.tokens)
    tokenizer = first.preprocess.tokenizer  # type: ignore[attr-defined]
    ids = starting_ids(tokenizer, 5, "good movie").tolist()
    assert tokenizer.convert_ids_to_tokens(ids) == ["good", "movie", "good", "movie", "good"]
    common = tokenizer.convert_ids_to_tokens(starting_ids(tokenizer, 30, None).tolist())
    assert all(token.isalpha() and len(token) > 1 for token in common)


@pytest.mark.parametrize("name", WORKING)
def test_only_the_topmost_blocks_have_one_where_so_asked(name: str) -> None:
    stack = tuned(name, {"blocks": 2}).stack()
    assert [group.name for group in stack.groups if group.beside] == ["block 1 prefix", "block 2 prefix"]
    assert stack.names.index("block 1 prefix") == stack.names.index("block 1") - 1


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("name", ["bert", "gpt2", "decoder", "t5"])
def test_folding_changes_nothing_beyond_rounding(name: str, gate: bool, tmp_path: Path) -> None:
    pretrained = moved(tuned(name, {"reparameterise": True, "hidden": 6, "gate": gate}))
    assert any(".network." in key for key in pretrained.module.state_dict())
    before = outputs_of(pretrained)
    assert fold(pretrained)
    assert not any(".network." in key for key in pretrained.module.state_dict())
    assert pretrained.spec["tuning"]["options"]["reparameterise"] is False
    assert torch.allclose(outputs_of(pretrained), before, atol=1e-6)
    assert not fold(pretrained)
    store.save(pretrained, tmp_path)
    assert torch.equal(outputs_of(store.load(tmp_path)), outputs_of(pretrained))


def test_the_network_begins_as_the_identity() -> None:
    plain, through = tuned("bert"), tuned("bert", {"reparameterise": True})
    assert torch.equal(outputs_of(plain), outputs_of(through))


@pytest.mark.parametrize("name", sorted(OWN_ATTENTION | set(families("image"))))
def test_families_that_it_cannot_help_are_named_with_what_can(name: str) -> None:
    with pytest.raises(ModelError, match=f"'{name}'.*prompt"):
        tuned(name)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"blocks": 4}, ModelError, "at most the 3 blocks of 'tiny-bert'. Got 4"),
        ({"length": 65}, ModelError, "at most 64, the number of positions of 'tiny-bert'. Got 65"),
        ({"start": "text"}, RecipeError, "method.options.text must be given"),
        ({"start": "random", "text": "good"}, RecipeError, "Got 'random' instead"),
        ({"text": "  "}, RecipeError, "must hold words to begin with. Got '  '"),
        ({"length": 0}, RecipeError, "a whole number of at least 1 or null. Got 0"),
        ({"lenght": 3}, RecipeError, "Did you mean 'length'?"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("?", r"\?")):
        tuned("bert", options)


def test_a_shifted_text_needs_room_among_the_positions() -> None:
    pretrained = tuned("bert", {"shift": True})
    assert pretrained.spec["max_length"] == pretrained.preprocess.config()["max_length"] == 60
    assert pretrained.spec["reasons"]["max_length"] == "4 of the model's 64 positions are the virtual tokens'"
    long = ["good " * 100]
    assert outputs_of(pretrained, long).isfinite().all()
    with pytest.raises(ModelError, match=r"has 64 positions for 4 virtual tokens and model.max_length = 62"):
        tuned("bert", {"shift": True}, max_length=62)
    assert tuned("bert").spec["max_length"] == 64
    assert tuned("decoder").spec["max_length"] == 64


@pytest.mark.parametrize("name", WORKING)
def test_shifted_positions_are_learned_ones_too(name: str) -> None:
    """Where positions are in a table a shift changes something; where they are distances it does not."""
    plain, shifted = tuned(name), tuned(name, {"shift": True})
    same = torch.allclose(outputs_of(plain), outputs_of(shifted), atol=1e-5)
    assert same is ("positions" not in plain.family.extras)


# ------------------------------------------------------------------------------------------------ other tools


def features_in_peft(base: nn.Module, folder: Path, pretrained: Pretrained) -> tuple[Tensor, Tensor]:
    """What peft makes of the texts with the plain backbone, and the mask."""
    from peft import PeftModel

    batch = pretrained.preprocess.collate([pretrained.preprocess.encode(text) for text in TEXTS])
    batch.pop("token_type_ids", None)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # peft's own
        model = PeftModel.from_pretrained(base, str(folder)).eval()
        return model(**batch).last_hidden_state, batch["attention_mask"]


def plain_backbone(home: Path) -> nn.Module:
    """The tiny BERT of the runs, as transformers loads it."""
    from transformers import AutoModel

    loaded: nn.Module = AutoModel.from_pretrained(home / "bert")
    return loaded


def own_features(pretrained: Pretrained) -> Tensor:
    caught: list[Tensor] = []
    pooling: Any = pretrained.module.pooling
    hook = pooling.register_forward_hook(lambda _, args, __: caught.append(args[0]))
    outputs_of(pretrained)
    hook.remove()
    return caught[0]


@pytest.mark.parametrize("name", [*TABLES, "decoder"])
def test_peft_computes_the_same_features(name: str, tmp_path: Path) -> None:
    base = copy.deepcopy(tiny_pretrained(name).module.backbone)
    pretrained = moved(tuned(name, {"shift": True}))
    technique_writes(pretrained, tmp_path)
    theirs, mask = features_in_peft(base, tmp_path, pretrained)
    mine = own_features(pretrained)
    seen = mask.bool()
    assert theirs.shape == mine.shape
    assert torch.allclose(theirs[seen], mine[seen], atol=1e-4)


def technique_writes(pretrained: Pretrained, folder: Path) -> None:
    from unfreeze.models.techniques import tuning_of

    technique, settings = tuning_of(pretrained)
    assert technique.interchange is not None
    technique.interchange(pretrained, settings, folder)
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("bert", {}, "shift: true"),
        ("bert", {"gate": True}, "gate: false.*shift: true"),
        ("decoder", {"gate": True}, "no gates"),
        ("decoder", {"blocks": 2}, "without method.options.blocks"),
        ("t5", {}, "'t5' does not read"),
        ("distilbert", {"shift": True}, "'distilbert' does not read"),
        ("modernbert", {}, "'modernbert' does not read"),
    ],
)
def test_what_peft_would_compute_otherwise_is_not_written(
    name: str, options: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=why):
        technique_writes(tuned(name, options), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bert", {"gate": True}, "it has no gates (method.options.gate: false); there texts begin at a later position"),
        ("bert", {}, "there texts begin at a later position (method.options.shift: true)"),
        ("bert", {"shift": True}, None),
        ("decoder", {"gate": True}, "it has no gates (method.options.gate: false)"),
        ("decoder", {"blocks": 2}, "there every block has one (without method.options.blocks)"),
        # No setting helps these: none is named.
        ("distilbert", {"gate": True}, "there it is a cache of earlier tokens, which 'distilbert' does not read"),
        ("t5", {"gate": True}, "there it is a cache of earlier tokens, which 't5' does not read"),
        ("modernbert", {"gate": True}, "there it is a cache of earlier tokens, which 'modernbert' does not read"),
    ],
)
def test_the_plan_names_the_layers_and_what_peft_cannot_hold(
    name: str, options: dict[str, Any], said: str | None
) -> None:
    pretrained = tuned(name, options)
    count = options.get("blocks", 3)
    gated = ", behind a gate for each head" if options.get("gate") else ""
    assert pretrained.tuned[0] == f"4 keys and values in front of those of {count} layers{gated}:"
    assert f", {count} times" in pretrained.tuned[1]
    about = [line for line in pretrained.tuned if line.startswith("a run holds no folder for peft: ")]
    assert len(about) == (said is not None)
    assert said is None or about[0].removeprefix("a run holds no folder for peft: ").startswith(said)
    assert name not in ("distilbert", "t5", "modernbert") or "method.options" not in about[0]


def test_without_a_word_about_it_there_is_a_gate_and_twenty_keys() -> None:
    pretrained = tiny_pretrained("bert")
    tune(pretrained, "prefix", {})
    options = pretrained.spec["tuning"]["options"]
    assert (options["gate"], options["length"], options["start"]) == (True, 20, "vocabulary")


# ------------------------------------------------------------------------------------------------ whole runs

RUN: dict[str, Any] = {"method": "prefix:4", "epochs": 2, "method__options": {"reparameterise": True, "hidden": 8}}


def test_a_run_saves_the_folded_prefix_and_the_head_only(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", **RUN)
    assert run.result["gate"]["state"] == "identical"
    saved = weights(run)
    assert {name.split(".prefix.")[-1] for name in saved if ".prefix." in name} == {
        "gate",
        "virtual.tokens",
        "virtual.unit",
    }
    assert {name for name in saved if ".prefix." not in name} == {"head.weight", "head.bias"}
    assert len(saved) == 3 * 3 + 2
    loaded = unfreeze_base_weights(run)
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in saved.items())
    assert not (run.path / "model" / "peft").exists()
    assert any("peft cannot hold this prefix: it has no gates" in note for note in run.result["notes"])


def test_a_run_writes_peft_s_layout_too_where_it_has_one(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", method="prefix:4", method__options={"gate": False, "shift": True})
    pretrained = store.load(run.path / "model")
    theirs, mask = features_in_peft(plain_backbone(home), run.path / "model" / "peft", pretrained)
    seen = mask.bool()
    assert torch.allclose(theirs[seen], own_features(pretrained)[seen], atol=1e-4)


def unfreeze_base_weights(run: Any) -> dict[str, Tensor]:
    return dict(store.load(run.path / "model").module.state_dict())


@pytest.mark.parametrize("stop", [3, 8])
def test_interrupted_it_comes_to_the_same_weights(home: Path, tmp_path: Path, stop: int) -> None:
    whole = fit_text(home, tmp_path / "whole", **RUN)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "part", progress=KillAt(stop), training__checkpoint_steps=2, **RUN)
    part = resume(tmp_path / "part")
    mine, theirs = weights(part), weights(whole)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_with_a_prefix_in_the_top_block_what_lies_below_is_replayed(home: Path, tmp_path: Path) -> None:
    options = {**RUN, "method__options": {"blocks": 1}}
    replayed = fit_text(home, tmp_path / "one", **options)
    plain = fit_text(home, tmp_path / "two", training__replay=False, **options)
    mine, theirs = weights(replayed), weights(plain)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-4) for name in mine)
    assert {name.split(".layer.")[1][0] for name in mine if ".layer." in name} == {"2"}
    assert BASE["threads"] == 1


def test_a_prefix_that_no_phase_lets_learn_is_saved_all_the_same(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", method="prefix:4", method__phases=[{"learn": "head"}])
    assert run.result["gate"]["state"] == "identical"
