"""The encoder of T5 and mT5."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "t5", vocab_size=96, d_model=32, num_layers=3, num_decoder_layers=1, num_heads=2, d_kv=16, d_ff=48
    )


FAMILY = Family(
    name="t5",
    modality="text",
    library="transformers",
    matches=("t5", "mt5"),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(shared|encoder\.embed_tokens)\."),
        GroupPattern("block {}", r"backbone\.encoder\.block\.(\d+)\."),
        GroupPattern("norm", r"backbone\.encoder\.final_layer_norm\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.encoder.block",
    rates=Rates(
        pretraining=1e-2,
        fine_tuning=1e-4,
        source="Raffel et al. 2020, 3.1.2 (Adafactor, 1e-2 falling); the transformers docs advise 1e-4 for AdamW",
    ),
    tiny=tiny,
    pooling="mean",
    extras={"classes": {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel"}},
)
