"""The encoder of T5 and mT5."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=1e-2,
        fine_tuning=1e-4,
        source="Raffel et al. 2020, arXiv:1910.10683, section 3.1.2 (Adafactor, 1e-2 falling); the transformers docs "
        "advise 1e-4 or 3e-4 for AdamW",
    ),
    tiny=tiny_config(
        "t5", max_position_embeddings=None, intermediate_size=None, num_decoder_layers=1, d_kv=16, d_ff=48
    ),
    pooling="mean",
    extras={"classes": {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel"}},
)
