"""MobileNet, versions 1 to 4."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "mobilenetv3_small_050", {}


FAMILY = Family(
    name="mobilenet",
    modality="image",
    library="timm",
    matches=(r"(tf_)?mobilenetv[1234]_.*", r"mobilenet_.*"),
    patterns=(
        GroupPattern("stem", r"backbone\.(conv_stem|bn1)\."),
        GroupPattern("block {}", r"backbone\.blocks\.(\d+)\.(\d+)\."),
        GroupPattern("top", r"backbone\.(conv_head|bn2|norm_head)\."),
        GroupPattern("head", r"backbone\.classifier\."),
    ),
    rates=Rates(
        pretraining=4.5e-2,
        fine_tuning=3e-4,
        source="Sandler et al. 2018, MobileNetV2, arXiv:1801.04381, section 6.1 (RMSProp, 0.045); the rate for AdamW "
        "is chosen here",
    ),
    tiny=tiny,
    extras={"after": ("conv_head", "bn2", "norm_head")},
)
