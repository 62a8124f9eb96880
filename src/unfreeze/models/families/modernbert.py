"""ModernBERT."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=8e-4,
        fine_tuning=5e-5,
        source="Warner et al. 2024, arXiv:2412.13663, table 3: base 8e-4, large 5e-4 and then 5e-5 (StableAdamW); "
        "table 6: fine-tuning 1e-5 to 8e-5",
    ),
    tiny=tiny_config(
        "modernbert",
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        local_attention=16,
        global_attn_every_n_layers=2,
    ),
    pooling="mean",
)
