"""DistilBERT."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "distilbert", vocab_size=96, dim=32, n_layers=3, n_heads=2, hidden_dim=48, max_position_embeddings=64
    )


FAMILY = Family(
    name="distilbert",
    modality="text",
    library="transformers",
    matches=("distilbert",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.embeddings\."),
        GroupPattern("block {}", r"backbone\.transformer\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.transformer.layer",
    rates=Rates(
        pretraining=5e-4,
        fine_tuning=5e-5,
        source="transformers' research project `distillation`, train.py: 5e-4 (AdamW); a tenth is taken",
    ),
    tiny=tiny,
    pooling="mean",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
