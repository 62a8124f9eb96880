"""RoBERTa, XLM-RoBERTa and CamemBERT."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "roberta",
        vocab_size=96,
        max_position_embeddings=66,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


FAMILY = Family(
    name="roberta",
    modality="text",
    library="transformers",
    matches=("roberta", "xlm-roberta", "camembert"),
    patterns=(
        GroupPattern("embeddings", r"backbone\.embeddings\."),
        GroupPattern("block {}", r"backbone\.encoder\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.encoder.layer",
    rates=Rates(
        pretraining=6e-4,
        fine_tuning=3e-5,
        source="Liu et al. 2019, tables 9 and 10: base 6e-4, large 4e-4; fine-tuning 1e-5 to 3e-5",
    ),
    tiny=tiny,
    pooling="mean",
    extras={"positions": ("embeddings.position_embeddings", 2)},
)
