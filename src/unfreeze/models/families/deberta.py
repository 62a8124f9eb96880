"""DeBERTa, versions 1 to 3."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "deberta-v2",
        vocab_size=96,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        position_buckets=16,
        conv_kernel_size=3,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


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
    blocks="backbone.encoder.layer",
    rates=Rates(
        pretraining=2e-4,
        fine_tuning=2e-5,
        source="He et al. 2021, DeBERTa, appendix A: 2e-4; fine-tuning 5e-6 to 3e-5",
    ),
    tiny=tiny,
    pooling="first",
    extras={"positions": ("embeddings.position_embeddings", 0)},
)
