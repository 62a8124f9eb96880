"""XLNet."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

FAMILY = Family(
    name="xlnet",
    modality="text",
    library="transformers",
    matches=("xlnet",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(word_embedding\.|mask_emb)"),
        GroupPattern("block {}", r"backbone\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    rates=Rates(
        pretraining=4e-4,
        fine_tuning=2e-5,
        source="Yang et al. 2019, arXiv:1906.08237, appendix A.4: pre-training 4e-4; fine-tuning 1e-5 to 3e-5",
    ),
    tiny=tiny_config(
        "xlnet",
        **dict.fromkeys(("max_position_embeddings", "hidden_size", "num_hidden_layers", "num_attention_heads")),
        intermediate_size=None,
        d_model=32,
        n_layer=3,
        n_head=2,
        d_inner=48,
    ),
    pooling="last",
    extras={"config": {"use_mems_eval": False, "use_mems_train": False}},
)
