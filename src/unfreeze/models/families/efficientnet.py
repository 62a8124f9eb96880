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
    rates=Rates(
        pretraining=1.6e-2,
        fine_tuning=2e-4,
        source="Tan and Le 2019, arXiv:1905.11946 (RMSProp, 0.256), which is 0.016 for 256 images in its code; the "
        "rate for AdamW is chosen here",
    ),
    tiny=tiny,
    extras={"after": ("conv_head", "bn2")},
)
