"""XLNet."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model("xlnet", vocab_size=96, d_model=32, n_layer=3, n_head=2, d_inner=48)


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
    blocks="backbone.layer",
    rates=Rates(
        pretraining=4e-4,
        fine_tuning=2e-5,
        source="Yang et al. 2019, appendix A.4: pre-training 4e-4; fine-tuning 1e-5 to 5e-5",
    ),
    tiny=tiny,
    pooling="last",
    extras={"config": {"use_mems_eval": False, "use_mems_train": False}},
)
