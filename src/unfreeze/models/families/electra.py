"""ELECTRA, as its discriminator."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "electra",
        vocab_size=96,
        embedding_size=16,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


FAMILY = Family(
    name="electra",
    modality="text",
    library="transformers",
    matches=("electra",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(embeddings|embeddings_project)\."),
        GroupPattern("block {}", r"backbone\.encoder\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.encoder.layer",
    rates=Rates(
        pretraining=2e-4,
        fine_tuning=2e-5,
        source="Clark et al. 2020, table 6: base and large 2e-4, small 5e-4; their fine-tuning used more than a tenth",
    ),
    tiny=tiny,
    pooling="first",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
