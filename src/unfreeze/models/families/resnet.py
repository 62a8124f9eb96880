"""ResNet and its variants of the same shape; the embedded image model too."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "resnet18", {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "stem_width": 8}


FAMILY = Family(
    name="resnet",
    modality="image",
    library="timm",
    matches=(
        r"(wide_)?resnet\d+[a-z]*(_\d+)?(_gn)?",
        r"(ig_)?resnext\d+.*",
        r"seresnet\d+[a-z]*",
        r"ecaresnet\d+[a-z]*",
        r"unfreeze_tiny_cnn",
    ),
    patterns=(
        GroupPattern("stem", r"backbone\.(conv1|bn1|maxpool)\."),
        GroupPattern("block {}", r"backbone\.layer(\d+)\.(\d+)\."),
        GroupPattern("head", r"backbone\.fc\."),
    ),
    rates=Rates(
        pretraining=5e-3,
        fine_tuning=1e-4,
        source="Wightman et al. 2021, ResNet strikes back, arXiv:2110.00476 (LAMB, 5e-3); the rate for AdamW is chosen "
        "here",
    ),
    tiny=tiny,
    extras={
        "rates": {
            "unfreeze.tiny.cnn": Rates(
                pretraining=3e-3,
                fine_tuning=3e-4,
                source="this project's recipe for the embedded image model (AdamW); a tenth is taken",
            )
        }
    },
)
