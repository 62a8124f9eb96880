"""ModernBERT."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "modernbert",
        vocab_size=96,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        max_position_embeddings=64,
        local_attention=16,
        global_attn_every_n_layers=2,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


FAMILY = Family(
    name="modernbert",
    modality="text",
    library="transformers",
    matches=("modernbert",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(embeddings|rotary_emb)\."),
        GroupPattern("block {}", r"backbone\.layers\.(\d+)\."),
        GroupPattern("norm", r"backbone\.final_norm\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.layers",
    rates=Rates(
        pretraining=8e-4,
        fine_tuning=5e-5,
        source="Warner et al. 2024, table 3: base 8e-4, large 5e-4 (StableAdamW); fine-tuning 1e-5 to 8e-5",
    ),
    tiny=tiny,
    pooling="mean",
)
