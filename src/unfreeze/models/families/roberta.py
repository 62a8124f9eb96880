"""RoBERTa, XLM-RoBERTa and CamemBERT."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=6e-4,
        fine_tuning=3e-5,
        source="Liu et al. 2019, arXiv:1907.11692, and the model cards: base 6e-4, large 4e-4; its table 10: "
        "fine-tuning 1e-5 to 3e-5",
    ),
    tiny=tiny_config("roberta", max_position_embeddings=66),
    pooling="mean",
    extras={"positions": ("embeddings.position_embeddings", 2)},
)
