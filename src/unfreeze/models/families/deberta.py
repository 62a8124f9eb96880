"""DeBERTa, versions 1 to 3."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

FAMILY = Family(
    name="deberta",
    modality="text",
    library="transformers",
    matches=("deberta", "deberta-v2"),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(embeddings|encoder\.rel_embeddings|encoder\.LayerNorm)\."),
        GroupPattern("block 0", r"backbone\.encoder\.(layer\.0|conv)\."),
        GroupPattern("block {}", r"backbone\.encoder\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    rates=Rates(
        pretraining=2e-4,
        fine_tuning=2e-5,
        source="He et al. 2021, arXiv:2006.03654, tables 8 and 9 (base and large): 2e-4; fine-tuning 5e-6 to 4e-5",
    ),
    tiny=tiny_config(
        "deberta-v2",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        position_buckets=16,
        conv_kernel_size=3,
    ),
    pooling="first",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
