"""EfficientNet, versions 1 and 2."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "test_efficientnet", {}


FAMILY = Family(
    name="efficientnet",
    modality="image",
    library="timm",
    matches=(r"(tf_|gc_)?efficientnet(v2)?_.*", r"test_efficientnet.*", r"mixnet_.*", r"mnasnet_.*"),
    patterns=(
        GroupPattern("stem", r"backbone\.(conv_stem|bn1)\."),
        GroupPattern("block {}", r"backbone\.blocks\.(\d+)\.(\d+)\."),
        GroupPattern("top", r"backbone\.(conv_head|bn2|norm_head)\."),
        GroupPattern("head", r"backbone\.classifier\."),
    ),
    blocks="backbone.blocks",
    rates=Rates(
        pretraining=1.6e-2,
        fine_tuning=2e-4,
        source="Tan and Le 2019, its code (RMSProp, 0.016 for 256 images); the rate for AdamW is chosen here",
    ),
    tiny=tiny,
    extras={"after": ("conv_head", "bn2")},
)
