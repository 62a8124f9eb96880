"""Load a pre-trained model, change its architecture as asked, and give it a new head."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unfreeze.collector import paused
from unfreeze.data.manifest import Modality
from unfreeze.errors import ModelError
from unfreeze.models import embedded, image, pixels, text
from unfreeze.models._state import Fit, fill, sha256_of
from unfreeze.models.families import specialise
from unfreeze.models.pretrained import Preprocessor, Pretrained, Provenance
from unfreeze.models.sources import OPTIONAL, Source, find
from unfreeze.models.tokens import DEFAULT_LENGTH, TextPreprocessor
from unfreeze.recipe import ModelRecipe


def load_pretrained(
    recipe: ModelRecipe, *, modality: Modality, outputs: int, seed: int, random_weights: bool = False
) -> Pretrained:
    """The model of a recipe, changed as it says, with a new head of `outputs` outputs.

    Parameters
    ----------
    seed : int
        Of the head's weights and, with `random_weights`, of all others.
    random_weights : bool
        The same architecture with its own initialisation: the honest baseline.

    Raises
    ------
    ModelError
        If the model is unknown, cannot be reached, or cannot be changed so.
    """
    with paused():
        source = find(recipe, modality, weights=not random_weights)
        return replace(adapt(source, recipe, outputs=outputs, seed=seed), asked=recipe)


def describe(name: str | None, modality: Modality) -> tuple[str, str]:
    """The model's resolved name and the reason for it; loads nothing."""
    if name is None:
        return embedded.DEFAULTS[modality], f"the embedded model for {modality}s, which needs no network"
    if name in embedded.EMBEDDED:
        return name, "named; embedded"
    if Path(name).expanduser().is_dir():
        return name, "named; a local folder"
    return name, "named; by timm or the Hub"


def adapt(source: Source, recipe: ModelRecipe, *, outputs: int, seed: int) -> Pretrained:
    """A source with the changes of a recipe."""
    change = _change_text if source.spec["modality"] == "text" else _change_image
    spec, preprocess = change(source, recipe, outputs)
    spec = json.loads(json.dumps(spec))  # as it will be read from a file: lists, not tuples
    return fitted(source, spec, preprocess, seed)


def fitted(source: Source, spec: dict[str, Any], preprocess: Preprocessor, seed: int) -> Pretrained:
    """The architecture of a spec with a source's weights, and a new head."""
    module = build(spec, seed, empty=source.state is not None)
    if source.state is not None:
        heads = _head_prefixes(module)
        kept = {name: weight for name, weight in source.state.items() if not name.startswith(heads)}
        fill(module, kept, _fit(source, module), source.name, optional=(*OPTIONAL, *_head_names(module, heads)))
    provenance = Provenance(
        name=source.name,
        source=source.source if source.state is not None else "random",
        revision=source.revision,
        licence=source.licence,
        sha256=sha256_of(source.state if source.state is not None else module.state_dict()),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
    )
    return Pretrained(module, preprocess, specialise(source.family, source.name, module), provenance, spec)


def build(spec: dict[str, Any], seed: int, *, empty: bool = False) -> nn.Module:
    """The architecture of a spec with new weights, or with weights that are to be filled, where that is sooner done."""
    return text.build(spec, seed, empty=empty) if spec["modality"] == "text" else image.build(spec, seed)


def _head_prefixes(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, image.ImageModel):
        return tuple(f"backbone.{name}." for name in image.head_names(module.backbone))
    return ("head.",)


def _head_names(module: nn.Module, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in module.state_dict() if name.startswith(prefixes))


def _fit(source: Source, module: nn.Module) -> Fit:
    if isinstance(module, text.TextModel):
        return partial(text.stretch, source.family)
    patches = getattr(module.backbone, "patch_embed", None)
    prefix = (
        0 if getattr(module.backbone, "no_embed_class", False) else getattr(module.backbone, "num_prefix_tokens", 0)
    )
    first = f"backbone.{module.backbone.pretrained_cfg.get('first_conv')}.weight"  # type: ignore[union-attr, operator]

    def fit(name: str, weight: Tensor, place: Tensor) -> Tensor | None:
        if name != first and not name.endswith("pos_embed"):
            return None
        return image.fit_image(name, weight, place, prefix, getattr(patches, "grid_size", None))

    return fit


def _change_text(source: Source, recipe: ModelRecipe, outputs: int) -> tuple[dict[str, Any], Preprocessor]:
    for option in ("image_size", "channels"):
        if getattr(recipe, option) is not None:
            raise ModelError(f"model.{option} is for images; '{source.name}' reads texts.")
    config = text.config_of(source.spec)
    if recipe.drop_top:
        text.shorten(config, recipe.drop_top)
    if recipe.dropout is not None:
        text.set_dropout(config, recipe.dropout)
    length, reason = _length(source, config, recipe.max_length)
    limit = text.position_limit(source.family, config)
    stretched = limit is not None and length > limit
    if stretched:
        config.max_position_embeddings = length + source.family.extras["positions"][1]
    token_types = "token_type_ids" in source.reader.model_input_names and bool(getattr(config, "type_vocab_size", 1))
    spec = {
        **source.spec,
        "config": json.loads(config.to_json_string(use_diff=False)),
        "outputs": outputs,
        "pooling": recipe.pooling or source.spec["pooling"],
        "head_dropout": source.spec["head_dropout"] if recipe.dropout is None else recipe.dropout,
        "max_length": length,
        "token_types": token_types,
        "resized": ["max_length"] if stretched else [],
        "reasons": {"max_length": reason},
    }
    return spec, TextPreprocessor(source.reader, length, token_types)


def _length(source: Source, config: Any, asked: int | None) -> tuple[int, str]:
    """How many tokens are read of each text, and why."""
    least = int(source.reader.num_special_tokens_to_add(pair=True)) + 2
    if asked is not None:
        if asked < least:
            raise ModelError(
                f"model.max_length must be at least {least} tokens for '{source.name}'. Got {asked} instead."
            )
        return asked, "as asked"
    own = int(source.reader.model_max_length)  # an astronomical number where the tokenizer does not know
    limit = min(own, text.position_limit(source.family, config) or own)
    if limit < DEFAULT_LENGTH:
        return limit, f"the model reads at most {limit} tokens"
    most = str(limit) if limit < 10**9 else "any number of"
    return DEFAULT_LENGTH, f"attention's cost grows with the square of the length; the model reads {most} tokens"


def _change_image(source: Source, recipe: ModelRecipe, outputs: int) -> tuple[dict[str, Any], Preprocessor]:
    for option in ("max_length", "pooling"):
        if getattr(recipe, option) is not None:
            raise ModelError(f"model.{option} is for texts; '{source.name}' reads images.")
    reader: pixels.ImagePreprocessor = source.reader
    channels, size = recipe.channels or reader.channels, recipe.image_size or reader.size
    resized = {
        "channels": channels != reader.channels,
        "image_size": size != reader.size and bool(source.family.extras.get("resizes")),
    }
    spec = {
        **source.spec,
        "outputs": outputs,
        "channels": channels,
        "image_size": size,
        "drop_top": source.spec["drop_top"] + recipe.drop_top,
        "dropout": source.spec["dropout"] if recipe.dropout is None else recipe.dropout,
        "resized": [name for name, changed in resized.items() if changed],
        "reasons": {"image_size": "as asked" if recipe.image_size else "what the model was pre-trained with"},
    }
    mean, std = pixels.adapted(reader.mean, channels), pixels.adapted(reader.std, channels)
    return spec, replace(reader, size=size, channels=channels, mean=mean, std=std)
