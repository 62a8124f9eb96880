"""To and from peft: adapters written here act there on the bare base, and peft's own are continued here."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import BASE, CNN_OPTIONS, fit_images, fit_text, sentences, text_model
from tiny import tiny_pretrained, tiny_tokenizer
from torch import Tensor, nn

import unfreeze
from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods._exchange import CONFIG, WEIGHTS, changes_of_base
from unfreeze.methods._peft import adapted
from unfreeze.models import store, techniques
from unfreeze.models.load import load_pretrained
from unfreeze.models.plain import HEAD, HEAD_MEANING
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import tune
from unfreeze.models.text import pool
from unfreeze.recipe import ModelRecipe

from peft import (  # isort: skip  (after small, which repairs torchvision)
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
"""What peft asks transformers in its own way."""

CLOSE = 1e-5
IDS = torch.tensor([[2, 9, 11, 13, 3], [2, 8, 3, 0, 0]])
MASK = (IDS != 0).long()


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny BERT, a tiny GPT-2 and a tiny Llama with grouped heads, as transformers saves them."""
    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp("bases")
    gpt2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 1}
    llama = {"hidden_size": 16, "num_hidden_layers": 3, "intermediate_size": 24, "max_position_embeddings": 64}
    llama |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    torch.manual_seed(3)
    for name, sizes in (("gpt2", gpt2), ("llama", llama)):
        config = AutoConfig.for_model(name, vocab_size=96, **sizes)
        AutoModel.from_config(config).save_pretrained(folder / name)
        tiny_tokenizer(config).save_pretrained(folder / name)
    return {name: with_larger_weights(folder / name) for name in (text_model(folder / "bert").name, "gpt2", "llama")}


def with_larger_weights(folder: Path) -> Path:
    """As a library makes them at random, layers change what they read by too little to tell one input from another."""
    model = auto(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and not any(part in name for part in ("embed", "wte", "wpe")):
                parameter *= 5
    model.save_pretrained(folder)
    return folder


def loaded(base: Path, **changes: Any) -> Pretrained:
    return load_pretrained(ModelRecipe(name=str(base), **changes), modality="text", outputs=3, seed=0)


def auto(base: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(base).eval()


def features(module: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = module.eval()(input_ids=IDS, attention_mask=MASK).last_hidden_state
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def learned(module: nn.Module) -> None:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if any(part in name for part in (".lora_", ".ia3_l", "prompt_encoder", ".prefix.", ".prompt.")):
                parameter += 0.2 * torch.randn(parameter.shape, generator=draw)


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("lora", {"rank": 4}),
    ("lora", {"rank": 4, "alpha": 6.0, "rslora": True, "dropout": 0.1, "plus_ratio": 4.0}),
    ("lora", {"rank": 4, "dora": True, "blocks": 1}),
    ("lora", {"rank": 4, "start": "pissa", "alpha": 8.0}),
    ("lora", {"rank": 4, "start": "olora", "rslora": True}),
    ("ia3", {}),
    ("ia3", {"blocks": 2}),
]


@pytest.mark.parametrize("base", ["bert", "gpt2"])
@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=str)
def test_what_is_written_acts_the_same_in_peft(
    bases: dict[str, Path], base: str, method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    pretrained = loaded(bases[base])
    tune(pretrained, method, options)
    learned(pretrained.module)
    techniques.interchange(pretrained, tmp_path / "peft")
    ours = features(pretrained.module.get_submodule("backbone"))
    theirs = PeftModel.from_pretrained(auto(bases[base]), tmp_path / "peft")
    assert relative(features(theirs), ours) < CLOSE
    assert relative(features(auto(bases[base])), ours) > 1e-3
    config = json.loads((tmp_path / "peft" / CONFIG).read_text())
    assert config["base_model_name_or_path"] == str(bases[base])
    keys = load_file(tmp_path / "peft" / WEIGHTS)
    assert all(key.startswith("base_model.model.") and "backbone" not in key for key in keys)
    assert sorted({key.split(".lora_")[0].split(".ia3_l")[0] for key in keys}) == sorted(
        f"base_model.model.{name}" for name in adapted(pretrained)
    )


@pytest.mark.parametrize("base", ["bert", "gpt2"])
def test_over_a_quantised_base_the_adapter_itself_is_exchanged(
    bases: dict[str, Path], base: str, tmp_path: Path
) -> None:
    pretrained = loaded(bases[base])
    tune(pretrained, "qlora", {"rank": 4})
    learned(pretrained.module)
    techniques.interchange(pretrained, tmp_path)
    ours = features(pretrained.module.get_submodule("backbone"))
    theirs = PeftModel.from_pretrained(auto(bases[base]), tmp_path)
    assert relative(features(theirs), ours) < 0.05  # as far as 8 bits are from the base


def timm_folder(home: Path, folder: Path) -> Path:
    """The tiny ResNet of the runs, as timm's local folders are."""
    options = {key: value for key, value in CNN_OPTIONS.items() if key not in ("mean", "std")}
    reader = {"input_size": [3, 32, 32], "mean": CNN_OPTIONS["mean"], "std": CNN_OPTIONS["std"], "crop_pct": 1.0}
    described = {"architecture": "resnet18", "num_classes": 1000, "model_args": options, "pretrained_cfg": reader}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(described))
    save_file(load_file(home / "cnn.safetensors"), folder / "model.safetensors")
    return folder


def test_a_network_for_images_is_adapted_in_peft_too(home: Path) -> None:
    """Its stem has a convolution whose name is the end of others' names."""
    import timm

    folder = timm_folder(home, Path("resnet"))
    targets = {"targets": ["backbone.conv1", "downsample.0"]}
    run = unfreeze.fit(home / "pictures", str(folder), method="lora:4", method__options=targets, output="run", **BASE)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    network.reset_classifier(0)
    pixels = torch.randn(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PeftModel.from_pretrained(network.eval(), run.path / "model" / "peft").eval()
    assert len([name for name, _ in theirs.named_parameters() if ".lora_A." in name]) == len(adapted(run.pretrained))
    backbone: Any = run.pretrained.module.get_submodule("backbone")
    with torch.no_grad():
        assert (
            relative(theirs(pixels), backbone.forward_head(backbone.forward_features(pixels), pre_logits=True)) < CLOSE
        )
        head = load_file(run.path / "model" / "peft" / HEAD)
        ours = run.pretrained.module.eval()(pixel_values=pixels)
        assert relative(theirs(pixels) @ head["weight"].T + head["bias"], ours) < CLOSE
    said = json.loads((run.path / "model" / "peft" / HEAD_MEANING).read_text())
    assert (said["labels"], said["pixels"]["mean"]) == (["blue", "red"], [0.5, 0.5, 0.5])


def read_elsewhere(base: Any, tokenizer: Any, folder: Path, texts: list[str]) -> tuple[Tensor, dict[str, Any]]:
    """Outputs as a reader makes them who has transformers, peft and the head's two files only."""
    head, said = load_file(folder / HEAD), json.loads((folder / HEAD_MEANING).read_text())
    batch = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=said["max_length"])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft leaves out token types, and says so
        tokens = base.eval()(**batch).last_hidden_state[:, said["virtual_tokens"] :]
    pooled = pool(tokens, batch["attention_mask"], said["pooling"])
    return pooled @ head["weight"].T + head["bias"], said


TEXTS = ["a good movie", "the bank is poor, a card", "rain"]
WITH_HEADS: list[tuple[str, dict[str, Any]]] = [
    ("lora:2", {}),
    ("ia3", {"model__pooling": "first"}),
    ("prompt:3", {"model__pooling": "last"}),
    ("prefix:3", {"method__options": {"gate": False, "shift": True}}),
]


@pytest.mark.parametrize(("method", "more"), WITH_HEADS, ids=[method for method, _ in WITH_HEADS])
def test_with_the_head_others_predict_what_a_run_predicts(home: Path, method: str, more: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    run = fit_text(home, Path("run"), method=method, epochs=1, **more)
    folder = run.path / "model" / "peft"
    theirs = PeftModel.from_pretrained(auto(home / "bert"), folder)
    outputs, said = read_elsewhere(theirs, AutoTokenizer.from_pretrained(home / "bert"), folder, TEXTS)
    expected = run.predict(TEXTS, precision="float32", calibrated=False)
    for row, wanted in zip(outputs.softmax(-1).tolist(), expected, strict=True):
        assert dict(zip(said["labels"], row, strict=True)) == pytest.approx(wanted["probabilities"], abs=1e-5)
    assert said["task"] == "classification"
    assert "target_mean" not in said


def test_a_merged_run_has_its_head_beside_the_plain_model(home: Path) -> None:
    from transformers import AutoTokenizer

    run = fit_text(home, Path("run"), method="lora:2", epochs=1)
    folder = unfreeze.merge(run.path, "merged").path / "transformers"
    outputs, said = read_elsewhere(auto(folder), AutoTokenizer.from_pretrained(folder), folder, TEXTS)
    expected = run.predict(TEXTS, precision="float32", calibrated=False)
    for row, wanted in zip(outputs.softmax(-1).tolist(), expected, strict=True):
        assert dict(zip(said["labels"], row, strict=True)) == pytest.approx(wanted["probabilities"], abs=1e-5)


def test_the_head_of_a_number_says_its_mean_and_scale(home: Path) -> None:
    from transformers import AutoTokenizer

    rows = [(text, 100.0 + 7 * len(text)) for text, _ in sentences(40)]
    run = unfreeze.fit(rows, str(home / "bert"), method="lora:2", epochs=1, task="regression", output="run", **BASE)
    folder = run.path / "model" / "peft"
    theirs = PeftModel.from_pretrained(auto(home / "bert"), folder)
    outputs, said = read_elsewhere(theirs, AutoTokenizer.from_pretrained(home / "bert"), folder, TEXTS)
    found = outputs[:, 0] * said["target_scale"] + said["target_mean"]
    expected = [row["prediction"] for row in run.predict(TEXTS, precision="float32")]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert (said["task"], said["labels"]) == ("regression", [])


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("lora:2", {"model__drop_top": 1}, r"\(model\.drop_top\)"),
        ("ia3", {"model__max_length": 80}, r"\(model\.max_length\)"),
        ("lora:2", {"model__options": {"hidden_act": "relu"}}, r"\(model\.options\)"),
        ("prompt:2", {"model__options": {"hidden_act": "relu"}}, r"\(model\.options\)"),
    ],
)
def test_no_folder_names_a_base_that_predicts_something_else(
    home: Path, method: str, changes: dict[str, Any], said: str
) -> None:
    run = fit_text(home, Path("run"), method=method, epochs=1, **changes)
    assert not (run.path / "model" / "peft").exists()
    assert [note for note in run.result["notes"] if re.search(f"since the base was changed {said}", note)]


def test_nor_one_whose_weights_are_of_a_file_or_of_a_run(home: Path) -> None:
    images = fit_images(home, Path("images"), method="lora:2", epochs=1)
    assert not (images.path / "model" / "peft").exists()
    (note,) = [note for note in images.result["notes"] if "since the base was changed" in note]
    assert "model.weights, model.options" in note
    first = fit_text(home, Path("first"), method="head", epochs=1)
    options = {"target": "label", "split": "split", "method": "ia3", "epochs": 1, **BASE}
    second = unfreeze.fit(home / "table.csv", str(first.path), output="second", **options)
    assert not (second.path / "model" / "peft").exists()
    assert any("(model.name is a run's model)" in note for note in second.result["notes"])


def test_what_leaves_the_base_as_it_is_does_not_keep_a_folder_away(home: Path) -> None:
    """Also where a recipe says what is so anyway, as that of a run does that is resumed."""
    run = fit_text(home, Path("run"), method="ia3", epochs=1, model__max_length=40, model__dropout=0.2)
    assert (run.path / "model" / "peft" / WEIGHTS).exists()
    folder = timm_folder(home, Path("resnet"))
    for size, channels, changed in ((48, 3, []), (32, 1, ["model.channels"])):
        recipe = ModelRecipe(name=str(folder), image_size=size, channels=channels)
        assert changes_of_base(load_pretrained(recipe, modality="image", outputs=2, seed=0)) == changed
    for size, changed in ((32, []), (64, ["image_size"])):
        assert tiny_pretrained("vit", image_size=size).spec["resized"] == changed


# --------------------------------------------------------------------------------------------- peft's own


def made_by_peft(base: Path, folder: Path, config: Any, wrapped: Any = None) -> Any:
    model = get_peft_model(wrapped or auto(base), config)
    learned(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft cannot look for a changed vocabulary without a network
        model.save_pretrained(folder)
    return model


LORAS = [
    LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value"]),
    LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", use_rslora=True),
    LoraConfig(r=2, lora_alpha=5, target_modules=r"encoder\.layer\.[12]\..*dense", use_dora=True),
]


@pytest.mark.parametrize("config", LORAS, ids=["names", "all", "dora"])
def test_an_adapter_of_pefts_is_continued(bases: dict[str, Path], config: LoraConfig, tmp_path: Path) -> None:
    theirs = made_by_peft(bases["bert"], tmp_path / "theirs", config)
    pretrained = loaded(bases["bert"])
    tune(pretrained, "lora", {"adapter": str(tmp_path / "theirs")})
    assert relative(features(pretrained.module.get_submodule("backbone")), features(theirs)) < CLOSE
    decided = pretrained.spec["tuning"]["options"]
    assert (decided["rank"], decided["alpha"]) == (config.r, float(config.lora_alpha))
    assert (decided["rslora"], decided["dora"]) == (config.use_rslora, config.use_dora)
    assert pretrained.tuned[0] == f"goes on from the adapter in {tmp_path / 'theirs'}, made on '{bases['bert']}'"


def test_scales_of_pefts_are_continued(bases: dict[str, Path], tmp_path: Path) -> None:
    for base, targets, reading in (
        ("bert", ["key", "value", "output.dense"], ["output.dense"]),
        ("gpt2", ["c_attn", "mlp.c_proj"], ["mlp.c_proj"]),
    ):
        turned = base == "gpt2"
        config = IA3Config(target_modules=targets, feedforward_modules=reading, fan_in_fan_out=turned)
        theirs = made_by_peft(bases[base], tmp_path / base, config)
        pretrained = loaded(bases[base])
        tune(pretrained, "ia3", {"adapter": str(tmp_path / base)})
        assert relative(features(pretrained.module.get_submodule("backbone")), features(theirs)) < CLOSE


def entering_the_pooling(pretrained: Pretrained) -> Tensor:
    """Features of the real tokens, with whatever the method puts in front."""
    caught: list[Tensor] = []
    pooling: Any = pretrained.module.pooling
    hook = pooling.register_forward_hook(lambda _, args, __: caught.append(args[0]))
    with torch.no_grad():
        pretrained.module.eval()(input_ids=IDS, attention_mask=MASK)
    hook.remove()
    return caught[0][MASK.bool()]


def of_real_tokens(theirs: nn.Module) -> Tensor:
    return features(theirs)[:, -IDS.shape[1] :][MASK.bool()]


LENGTH = 5
VIRTUAL: list[tuple[str, type[Any], dict[str, Any]]] = [
    ("prefix", PrefixTuningConfig, {}),
    ("prefix", PrefixTuningConfig, {"prefix_projection": True, "encoder_hidden_size": 6}),
    ("prompt", PromptTuningConfig, {}),
    ("prompt", PromptEncoderConfig, {"encoder_hidden_size": 6}),
]


@pytest.mark.parametrize("base", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize(("method", "kind", "more"), VIRTUAL, ids=["prefix", "prefix-projection", "prompt", "p-tuning"])
def test_virtual_tokens_of_pefts_are_continued_and_given_back(
    bases: dict[str, Path], base: str, method: str, kind: type[Any], more: dict[str, Any], tmp_path: Path
) -> None:
    config = kind(task_type="FEATURE_EXTRACTION", num_virtual_tokens=LENGTH, **more)
    theirs = made_by_peft(bases[base], tmp_path / "theirs", config)
    pretrained = loaded(bases[base])
    tune(pretrained, method, {"adapter": str(tmp_path / "theirs"), "reparameterise": True, "hidden": 4})
    assert relative(entering_the_pooling(pretrained), of_real_tokens(theirs)) < CLOSE
    assert relative(of_real_tokens(auto(bases[base])), of_real_tokens(theirs)) > 1e-3
    decided = pretrained.spec["tuning"]["options"]
    assert (decided["length"], decided["adapter"], decided["start"]) == (LENGTH, None, None)
    if method == "prefix":
        assert (decided["gate"], decided["shift"]) == (False, base != "llama")
    assert pretrained.tuned[0] == f"goes on from the adapter in {tmp_path / 'theirs'}, made on '{bases[base]}'"
    learned(pretrained.module)
    assert relative(entering_the_pooling(pretrained), of_real_tokens(theirs)) > 10 * CLOSE
    techniques.fold(pretrained)
    techniques.interchange(pretrained, tmp_path / "ours")
    again = PeftModel.from_pretrained(auto(bases[base]), tmp_path / "ours")
    assert relative(of_real_tokens(again), entering_the_pooling(pretrained)) < CLOSE


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_a_run_goes_on_from_another_ones_virtual_tokens(home: Path, method: str) -> None:
    own = {"gate": False, "shift": True} if method == "prefix" else {}
    first = fit_text(home, Path("first"), method=f"{method}:3", epochs=1, method__options=own)
    options = {"adapter": str(first.path)}
    second = fit_text(home, Path("second"), method=method, epochs=1, lr=1e-9, method__options=options)
    assert second.recipe.method.options["length"] == 3
    before, after = (run.pretrained.module.state_dict() for run in (first, second))
    names = [name for name in before if name.endswith(".tokens")]
    assert len(names) == (3 if method == "prefix" else 1)
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in names)
    # What was decided, written into the recipe, means the same once more.
    plan = unfreeze.plan(recipe=second.recipe, data=home / "table.csv")
    assert plan.tuning[0].startswith("goes on from the adapter in ")
    (first.path / "model" / "peft" / WEIGHTS).unlink()
    assert unfreeze.load("second").predict(["a good movie"])


def test_virtual_tokens_that_cannot_be_continued_are_said(bases: dict[str, Path], tmp_path: Path) -> None:
    prefix, prompt = tmp_path / "prefix", tmp_path / "prompt"
    sizes = {"task_type": "FEATURE_EXTRACTION", "num_virtual_tokens": LENGTH}
    made_by_peft(bases["bert"], prefix, PrefixTuningConfig(**sizes))
    made_by_peft(bases["bert"], prompt, PromptTuningConfig(**sizes))

    def refused(said: str, kind: type[Exception], method: str, folder: Path, **options: Any) -> None:
        with pytest.raises(kind, match=said):
            tune(loaded(bases["bert"]), method, {"adapter": str(folder), **options})

    refused("expected an adapter of the kind PREFIX_TUNING, found PROMPT_TUNING", ModelError, "prefix", prompt)
    refused("kind PROMPT_TUNING or P_TUNING, found PREFIX_TUNING", ModelError, "prompt", prefix)
    refused("length says 7, and the adapter in .* has 5", RecipeError, "prompt", prompt, length=7)
    refused("gate says True, and the adapter in .* has False", RecipeError, "prefix", prefix, gate=True)
    refused("a prefix in every block", RecipeError, "prefix", prefix, blocks=1)
    refused("start: an adapter to go on from has begun already", RecipeError, "prompt", prompt, start="random")
    refused("text: an adapter to go on from has begun already", RecipeError, "prefix", prefix, text="good")
    with pytest.raises(ModelError, match="cache of earlier tokens, which 'distilbert' does not read"):
        tune(tiny_pretrained("distilbert"), "prefix", {"adapter": str(prefix)})
    with pytest.raises(ModelError, match="no layout for the prompts of images"):
        tune(tiny_pretrained("vit"), "prompt", {"adapter": str(prompt)})
    with pytest.raises(ModelError, match=r"vectors of width 96 instead of 48.*'.*llama'"):
        tune(loaded(bases["llama"]), "prefix", {"adapter": str(prefix)})
    for folder, method in ((prefix, "prefix"), (prompt, "prompt")):
        edited(folder, num_layers=4, token_dim=8)
        refused("another model, expected num_layers 3, found 4; token_dim 16, found 8", ModelError, method, folder)
        edited(folder, num_layers=3, token_dim=16, num_transformer_submodules=2)
        refused("expected num_transformer_submodules 1, found 2", ModelError, method, folder)
        edited(folder, num_transformer_submodules=1, num_virtual_tokens=6)
        refused(r"expected num_virtual_tokens = 6 vectors, found the shape \(5, ", ModelError, method, folder)
        state = load_file(folder / WEIGHTS)
        save_file({"others": state["prompt_embeddings"]}, folder / WEIGHTS)
        refused("under the name 'prompt_embeddings', found none", ModelError, method, folder)


def test_one_that_was_made_with_a_classifier_finds_its_layers(bases: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    classifier = AutoModelForSequenceClassification.from_pretrained(bases["bert"])
    config = LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS")
    theirs = made_by_peft(bases["bert"], tmp_path / "theirs", config, classifier)
    assert any("classifier" in key for key in load_file(tmp_path / "theirs" / WEIGHTS))
    pretrained = loaded(bases["bert"])
    tune(pretrained, "lora", {"adapter": str(tmp_path / "theirs")})
    backbone = theirs.base_model.model.bert
    assert relative(features(pretrained.module.get_submodule("backbone")), features(backbone)) < CLOSE


def test_a_run_goes_on_from_an_adapter_and_needs_it_no_more_once_it_is_saved(home: Path) -> None:
    first = fit_text(home, Path("first"), method="lora:2", epochs=1)
    folder = Path("moved")
    (first.path / "model" / "peft").rename(folder)
    second = fit_text(home, Path("second"), method="lora", epochs=1, lr=1e-9, method__options={"adapter": str(folder)})
    assert second.recipe.method.options["rank"] == 2
    assert Path(second.recipe.method.options["adapter"]).is_absolute()
    for name, tensor in first.pretrained.module.state_dict().items():
        if ".lora_" in name:
            assert torch.allclose(second.pretrained.module.state_dict()[name], tensor, atol=1e-6)
    (folder / WEIGHTS).unlink()
    assert unfreeze.load("second").predict(["a good movie"])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors does not exist"):
        unfreeze.plan(recipe=second.recipe, data=home / "table.csv")


def edited(folder: Path, **changes: Any) -> Path:
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**values, **changes}))
    return folder


def test_what_cannot_be_continued_is_said(bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    made_by_peft(bases["bert"], folder, LORAS[0])

    def refused(said: str, kind: type[Exception], method: str = "lora", **options: Any) -> None:
        with pytest.raises(kind, match=said):
            tune(loaded(bases["bert"]), method, {"adapter": str(folder), **options})

    refused("expected an adapter of the kind IA3, found LORA", ModelError, "ia3")
    refused("rank says 7, and the adapter in .* has 3", RecipeError, rank=7)
    refused("dora says True, and the adapter in .* has False", RecipeError, dora=True)
    refused("targets says", RecipeError, targets=["key"])
    refused("has begun already", RecipeError, start="pissa")
    with pytest.raises(ModelError, match="an adapter for another model than"):
        tune(loaded(bases["gpt2"]), "lora", {"adapter": str(folder)})
    with pytest.raises(ModelError, match="holds no adapter in peft's layout"):
        tune(loaded(bases["bert"]), "lora", {"adapter": str(tmp_path)})
    state = load_file(folder / WEIGHTS)
    first = next(iter(state))
    save_file({**state, first: state[first][:2].contiguous()}, folder / WEIGHTS)
    refused("several ranks|has the shape", ValueError)
    save_file({key: value for key, value in state.items() if key != first}, folder / WEIGHTS)
    refused("lacks lora_A", ModelError)
    save_file(state, folder / WEIGHTS)
    edited(folder, init_lora_weights="pissa")
    refused("it began with 'pissa', which changes the base's weights", RecipeError)
    edited(folder, init_lora_weights=True, alpha_pattern={"query": 4}, bias="lora_only")
    refused("alpha_pattern, bias of peft cannot be continued here", ModelError)


def test_equal_runs_write_equal_files(bases: dict[str, Path], tmp_path: Path) -> None:
    for name in ("one", "other"):
        pretrained = loaded(bases["bert"])
        tune(pretrained, "ia3", {})
        techniques.interchange(pretrained, tmp_path / name)
    assert (tmp_path / "one" / CONFIG).read_text() == (tmp_path / "other" / CONFIG).read_text()
    targets = json.loads((tmp_path / "one" / CONFIG).read_text())["target_modules"]
    assert targets == sorted(targets)


def test_a_saved_adapter_and_its_exchange_hold_the_same_numbers(home: Path) -> None:
    run = fit_text(home, Path("run"), method="lora:2", epochs=1)
    own = load_file(run.path / "model" / store.WEIGHTS)
    theirs = load_file(run.path / "model" / "peft" / WEIGHTS)
    for key, tensor in theirs.items():
        name = key.replace("base_model.model.", "backbone.").replace(".weight", ".default.weight")
        assert torch.equal(own[name], tensor)
