"""Vision transformers: ViT, DeiT and DINOv2."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "vit_tiny_patch16_224", {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 32}


FAMILY = Family(
    name="vit",
    modality="image",
    library="timm",
    matches=(r"(flexi)?vit_.*patch\d+.*", r"deit3?_.*", r"test_vit.*"),
    patterns=(
        GroupPattern("stem", r"backbone\.(cls_token|dist_token|reg_token|pos_embed|patch_embed\.|norm_pre\.)"),
        GroupPattern("block {}", r"backbone\.blocks\.(\d+)\."),
        GroupPattern("norm", r"backbone\.(norm|fc_norm|attn_pool)\."),
        GroupPattern("head", r"backbone\.head(_dist)?\."),
    ),
    rates=Rates(
        pretraining=1e-3,
        fine_tuning=5e-5,
        source="Dosovitskiy et al. 2020, arXiv:2010.11929, table 3 (Adam, 1e-3 on ImageNet-21k); the rate for AdamW is "
        "chosen here",
    ),
    tiny=tiny,
    extras={"resizes": True},
)
