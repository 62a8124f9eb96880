"""ELECTRA, as its discriminator."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=2e-4,
        fine_tuning=2e-5,
        source="Clark et al. 2020, arXiv:2003.10555, table 6: base and large 2e-4, small 5e-4; their fine-tuning used "
        "5e-5 (large) and 1e-4 (base) with lower layers slower, more than a tenth",
    ),
    tiny=tiny_config("electra", embedding_size=16),
    pooling="first",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
