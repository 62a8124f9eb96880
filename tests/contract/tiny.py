"""Tiny models of every family, with random weights and small tokenizers made on the spot: for tests, no network."""

from __future__ import annotations

import json
import string
from functools import cache
from typing import Any

from unfreeze import _torchvision  # noqa: F401
from unfreeze.data.manifest import Modality
from unfreeze.models.families import FAMILIES
from unfreeze.models.load import adapt
from unfreeze.models.pretrained import Family, Pretrained
from unfreeze.models.sources import Source
from unfreeze.recipe import ModelRecipe

WORDS = ["good", "bad", "fine", "movie", "bank", "card", "great", "poor", "the", "a", "is", "was"]
SIDES = {"inception": 75, "vgg": 32, "vit": 32}


def families(modality: Modality | None = None) -> list[str]:
    """Names of all families, or of those of one modality."""
    return [name for name, family in FAMILIES.items() if modality in (None, family.modality)]


def tiny_pretrained(family_name: str, outputs: int = 3, seed: int = 0, **changes: Any) -> Pretrained:
    """A tiny model of a family, changed as a recipe would: `tiny_pretrained("bert", drop_top=1, dropout=0.2)`."""
    return adapt(tiny_source(family_name, seed), ModelRecipe(**changes), outputs=outputs, seed=seed)


@cache
def tiny_source(family_name: str, seed: int = 0) -> Source:
    """What a tiny model was before any change."""
    family = FAMILIES.get(family_name)
    return text_source(family, family.tiny(), seed) if family.modality == "text" else image_source(family, seed)


def text_source(family: Family, config: Any, seed: int = 0) -> Source:
    from unfreeze.models import text

    for key, value in family.extras.get("config", {}).items():
        setattr(config, key, value)
    spec = {
        "modality": "text",
        "config": json.loads(config.to_json_string(use_diff=False)),
        "pooling": family.pooling,
        "head_dropout": text.head_dropout(config),
    }
    module = text.build({**spec, "outputs": 1}, seed + 1)
    return Source(family, spec, module.state_dict(), tiny_tokenizer(config), f"tiny-{family.name}", "test")


def image_source(family: Family, seed: int = 0, architecture: str | None = None, **more: Any) -> Source:
    from unfreeze.models import image, pixels

    name, options = family.tiny() if architecture is None else (architecture, more)
    options = {key: value for key, value in options.items() if key != "img_size"}
    side = SIDES.get(family.name, 32)
    size = {"img_size": side} if family.extras.get("resizes") else {}
    network = image.network(name, {**options, **size}, seed + 1)
    spec = {
        "modality": "image",
        "architecture": name,
        "options": options,
        "channels": 3,
        "image_size": side,
        "drop_top": 0,
        "dropout": None,
    }
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    reader = pixels.ImagePreprocessor(size=side, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Source(family, spec, state, reader, f"tiny-{family.name}", "test")


def tiny_tokenizer(config: Any) -> Any:
    """A WordPiece tokenizer of fewer than 96 tokens whose special ids are those of the configuration."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = _special(config)
    tokens = [*special, *WORDS, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), *".,!?"]
    vocabulary = _place(tokens, {special_token: index for special_token, index in special.items() if index is not None})
    assert len(vocabulary) <= 96
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    names = {"[PAD]": "pad_token", "[UNK]": "unk_token", "[CLS]": "cls_token", "[SEP]": "sep_token"}
    names |= {"[MASK]": "mask_token", "</s>": "eos_token", "<s>": "bos_token"}
    tokenizer.post_processor = _template(config, vocabulary)
    types = ["input_ids", "token_type_ids"] if getattr(config, "type_vocab_size", 0) > 1 else ["input_ids"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        model_input_names=[*types, "attention_mask"],
        **{names[token]: token for token in special},
    )


def _special(config: Any) -> dict[str, int | None]:
    if config.model_type == "gpt2":
        return {"[UNK]": None, "</s>": config.eos_token_id}
    if config.model_type == "llama":
        return {"[PAD]": 0, "[UNK]": None, "<s>": config.bos_token_id, "</s>": config.eos_token_id}
    if config.model_type == "t5":
        return {"[PAD]": config.pad_token_id, "[UNK]": None, "</s>": config.eos_token_id}
    return {"[PAD]": config.pad_token_id or 0, "[UNK]": None, "[CLS]": None, "[SEP]": None, "[MASK]": None}


def _place(tokens: list[str], fixed: dict[str, int]) -> dict[str, int]:
    free = [index for index in range(len(tokens)) if index not in fixed.values()]
    rest = [token for token in tokens if token not in fixed]
    return {**fixed, **dict(zip(rest, free, strict=False))}


def _template(config: Any, vocabulary: dict[str, int]) -> Any:
    from tokenizers import processors

    single, pair = {
        "gpt2": ("$A", "$A $B"),
        "llama": ("<s> $A", "<s> $A $B"),
        "t5": ("$A </s>", "$A </s> $B </s>"),
    }.get(config.model_type, ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"))
    special = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]", "<s>", "</s>") if token in vocabulary]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=special)
