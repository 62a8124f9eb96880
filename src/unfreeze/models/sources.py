"""Where models come from: embedded, a local folder, timm or the Hub. A source is what was found, before any change."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from unfreeze.data.manifest import Modality
from unfreeze.errors import ModelError
from unfreeze.models import embedded, image, pixels, text
from unfreeze.models._state import State, fill, no_fit
from unfreeze.models.families import family_of_config, family_of_timm
from unfreeze.models.offline import hub, unreachable
from unfreeze.models.pretrained import Family
from unfreeze.models.techniques import merge
from unfreeze.recipe import ModelRecipe

PIXEL_OPTIONS = ("mean", "std", "crop_pct", "interpolation")
OPTIONAL = ("num_batches_tracked",)


@dataclass(frozen=True)
class Source:
    """A model as it was found.

    `spec` describes the unchanged architecture; `state` holds its weights under the names of our module, or is None
    for a random start; `reader` is the tokenizer or the image preprocessor.
    """

    family: Family
    spec: dict[str, Any]
    state: State | None
    reader: Any
    name: str
    source: str
    revision: str | None = None
    licence: str | None = None


def find(recipe: ModelRecipe, modality: Modality, weights: bool) -> Source:
    """The model that a recipe names: embedded, then a local folder, then timm, then the Hub.

    Raises
    ------
    ModelError
        If it is none of these, cannot be reached, or is of the other modality.
    """
    name = recipe.name or embedded.DEFAULTS[modality]
    if name == embedded.MINILM_OWNER + embedded.MINILM and recipe.revision is None:
        name = embedded.MINILM  # the package carries the very same weights
    if name in embedded.EMBEDDED:
        return _embedded(name, recipe, modality, weights)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _local(folder, recipe, modality, weights)
    if name.startswith(("/", "./", "../", "~")):
        raise ModelError(f"The model folder {folder} does not exist.")
    if _is_timm(name):
        _same(modality, "image", name)
        return _timm(name, recipe, weights, source="timm")
    if modality == "image":
        identity = name.removeprefix("hf-hub:").removeprefix("hf_hub:")
        if "/" not in identity:
            raise unreachable(name, modality, "it is neither a timm name, nor embedded, nor a local folder")
        return _timm(f"hf-hub:{identity}", recipe, weights, source="hub")
    return _transformers(name, recipe, weights, source="hub")


def _same(modality: Modality, found: Modality, name: str) -> None:
    if modality != found:
        raise ModelError(f"'{name}' is a model for {found}s, but the inputs are {modality}s.")


def _embedded(name: str, recipe: ModelRecipe, modality: Modality, weights: bool) -> Source:
    _same(modality, embedded.EMBEDDED[name], name)
    if name == embedded.MINILM:
        found = _transformers(str(embedded.minilm_folder()), recipe, weights, source="embedded")
        return _renamed(found, name, "apache-2.0", pooling="mean")
    file = embedded.tiny_cnn_weights() if weights and not recipe.weights else None
    return _renamed(_timm("unfreeze_tiny_cnn", recipe, weights, "embedded", file=file), name, "apache-2.0")


def _renamed(found: Source, name: str, licence: str, **changes: Any) -> Source:
    return Source(
        found.family, {**found.spec, **changes}, found.state, found.reader, name, found.source, found.revision, licence
    )


def _local(folder: Path, recipe: ModelRecipe, modality: Modality, weights: bool) -> Source:
    """A folder in our own layout (or a run that holds one), in that of transformers, or in that of timm."""
    own = _own_place(folder)
    if own is not None:
        return _own(own, recipe, modality, weights)
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"The folder {folder} holds no model: expected config.json and model.safetensors in it.")
    values = read_description(config)
    if "architecture" in values:
        _same(modality, "image", str(folder))
        return _timm_folder(folder, values, recipe, weights)
    _same(modality, "text", str(folder))
    return _transformers(str(folder), recipe, weights, source="local")


def holds_own_model(name: str) -> bool:
    """Whether a name is that of a folder in which a run of ours keeps its model, whatever this was made of."""
    return name not in embedded.EMBEDDED and _own_place(Path(name).expanduser()) is not None


def _own_place(folder: Path) -> Path | None:
    from unfreeze.models import store

    places = (folder, folder / "model")
    return next((place for place in places if (place / store.DESCRIPTION).is_file()), None)


def _own(folder: Path, recipe: ModelRecipe, modality: Modality, weights: bool) -> Source:
    """A model that a run of ours saved: it can be fine-tuned again."""
    from unfreeze.models import store

    saved = store.load(folder)
    _same(modality, saved.family.modality, str(folder))
    if saved.additions:
        merge(saved)
    state = saved.module.state_dict() if weights else None
    reader = saved.preprocess.tokenizer if modality == "text" else saved.preprocess  # type: ignore[attr-defined]
    licence = saved.provenance.licence
    return Source(saved.family, saved.spec, state, reader, saved.provenance.name, "local", None, licence)


def _is_timm(name: str) -> bool:
    from unfreeze.models.tiny_cnn import timm

    return "/" not in name and ":" not in name and bool(timm.is_model(name))


def _pixel_reader(backbone: nn.Module, recipe: ModelRecipe) -> pixels.ImagePreprocessor:
    from timm.data.config import resolve_data_config

    found = {
        **resolve_data_config({}, model=backbone),
        **{k: v for k, v in recipe.options.items() if k in PIXEL_OPTIONS},
    }
    size = int(found["input_size"][-1])
    return pixels.ImagePreprocessor(
        size=size,
        channels=len(found["mean"]),
        mean=tuple(float(value) for value in found["mean"]),
        std=tuple(float(value) for value in found["std"]),
        crop_share=float(found["crop_pct"]),
        interpolation=str(found["interpolation"]),
    )


def _timm(name: str, recipe: ModelRecipe, weights: bool, source: str, file: Path | None = None) -> Source:
    """A network by its timm name, with timm's weights, those of a local file, or none."""
    from unfreeze.models.tiny_cnn import timm

    options = {key: value for key, value in recipe.options.items() if key not in PIXEL_OPTIONS}
    file = Path(recipe.weights).expanduser() if recipe.weights else file
    if name.startswith("hf-hub:") or (weights and file is None):
        own = {} if name.startswith("hf-hub:") else family_of_timm(name).extras.get("options", {})
        try:
            with hub():
                backbone = timm.create_model(name, pretrained=weights, **{**own, **options}).eval()
        except TypeError as error:
            raise ModelError(f"timm cannot make '{name}' with the options {options}: {error}") from error
        except Exception as error:  # every library below has its own errors for "no network"
            raise unreachable(recipe.name or name, "image", str(error)) from error
    else:
        backbone = image.network(name, options)
        if weights and file is not None:
            _fill_from(backbone, file, name)
    cfg: Any = backbone.pretrained_cfg
    architecture = str(cfg.get("architecture") or name)
    source = "file" if recipe.weights else source
    return _timm_source(backbone, architecture, options, recipe, weights, name, source)


def _timm_source(
    backbone: nn.Module,
    architecture: str,
    options: dict[str, Any],
    recipe: ModelRecipe,
    weights: bool,
    name: str,
    source: str,
) -> Source:
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()} if weights else None
    reader = _pixel_reader(backbone, recipe)
    spec = {
        "modality": "image",
        "architecture": architecture,
        "options": options,
        "channels": reader.channels,
        "image_size": reader.size,
        "drop_top": 0,
        "dropout": None,
    }
    cfg: dict[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    tag, licence = (cfg.get("tag"), cfg.get("license")) if source != "file" else (None, None)
    return Source(family_of_timm(architecture), spec, state, reader, name, source, tag, licence)


def _timm_folder(folder: Path, values: dict[str, Any], recipe: ModelRecipe, weights: bool) -> Source:
    options = {**values.get("model_args", {}), **{k: v for k, v in recipe.options.items() if k not in PIXEL_OPTIONS}}
    backbone = image.network(values["architecture"], {"num_classes": values.get("num_classes", 1000), **options})
    given = values.get("pretrained_cfg", {})
    backbone.pretrained_cfg = {**backbone.pretrained_cfg, **given}  # type: ignore[dict-item, assignment]
    if weights:
        _fill_from(backbone, Path(recipe.weights or folder / "model.safetensors"), str(folder))
    return _timm_source(backbone, values["architecture"], options, recipe, weights, str(folder), "local")


def _fill_from(backbone: nn.Module, file: Path, name: str) -> None:
    """Weights of a local file; a classifier of another size is left out, since it is replaced anyway."""
    state = read_safetensors(file)
    known = backbone.state_dict()
    unknown = sorted(set(state) - set(known))
    if unknown:
        raise ModelError(f"{file}: {len(unknown)} weights have no place in '{name}': {', '.join(unknown[:4])}.")
    heads = tuple(f"{head}." for head in image.head_names(backbone))
    state = {key: value for key, value in state.items() if not key.startswith(heads) or known[key].shape == value.shape}
    fill(
        backbone,
        state,
        no_fit,
        str(file),
        optional=(*OPTIONAL, *(f"{head}{end}" for head in heads for end in ("weight", "bias"))),
    )


def read_description(file: Path) -> dict[str, Any]:
    """The mapping in a model's JSON file.

    Raises
    ------
    ModelError
        If it is no JSON, or no mapping.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file}: expected a mapping that describes a model, found {type(values).__name__}.")
    return values


def read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file; halves become floats.

    Raises
    ------
    ModelError
        If it is missing or no safetensors file.
    """
    if not file.is_file():
        raise ModelError(f"The weights file {file} does not exist.")
    try:
        tensors = load_file(file)
    except Exception as error:  # safetensors raises its own type, which it does not export everywhere
        raise ModelError(f"{file} is not a readable safetensors file: {error}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _transformers(name: str, recipe: ModelRecipe, weights: bool, source: str) -> Source:
    """A text model by Hub id or folder. Never remote code, never pickle."""
    if recipe.weights:
        raise ModelError("model.weights names a file for a timm model; for text give the folder as model.name.")
    from transformers import AutoConfig, AutoTokenizer

    revision = {"revision": recipe.revision} if recipe.revision and source == "hub" else {}
    config = _reach(lambda: AutoConfig.from_pretrained(name, **revision), name)
    family = family_of_config(config.model_type)
    for key, value in {**family.extras.get("config", {}), **recipe.options}.items():
        if not hasattr(config, key):
            raise ModelError(f"model.options: '{key}' is not part of the configuration of '{name}'.")
        setattr(config, key, value)
    tokenizer = _reach(lambda: AutoTokenizer.from_pretrained(name, use_fast=True, **revision), name)
    tokenizer.truncation_side = "right"
    state = _text_weights(name, config, family, revision) if weights else None
    spec = {
        "modality": "text",
        "config": json.loads(config.to_json_string(use_diff=False)),
        "pooling": family.pooling,
        "head_dropout": text.head_dropout(config),
    }
    found = getattr(config, "_commit_hash", None) or recipe.revision
    return Source(family, spec, state, tokenizer, name, source, found if source == "hub" else None)


def _text_weights(name: str, config: Any, family: Family, revision: dict[str, str]) -> State:
    cls = text.backbone_class(family, config)
    backbone = _reach(
        lambda: cls.from_pretrained(
            name, config=config, use_safetensors=True, dtype=torch.float32, **revision, **text.pooler_off(cls)
        ),
        name,
    )
    return {f"backbone.{key}": value for key, value in backbone.state_dict().items()}


def _reach(call: Callable[[], Any], name: str) -> Any:
    """The result of a call into transformers, whose many errors become one line."""
    try:
        with hub():
            return call()
    except ModelError:
        raise
    except Exception as error:  # OSError, HTTP errors, ValueError for unknown types, …: all mean "not usable"
        raise unreachable(name, "text", str(error)) from error
