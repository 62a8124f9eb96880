"""DistilBERT."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=5e-4,
        fine_tuning=5e-5,
        source="transformers' research project `distillation`, train.py: 5e-4 (Adam); a tenth is taken",
    ),
    tiny=tiny_config("distilbert", intermediate_size=None, hidden_dim=48),
    pooling="mean",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
