"""ConvNeXt, versions 1 and 2."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}


STAGES = range(4)


FAMILY = Family(
    name="convnext",
    modality="image",
    library="timm",
    matches=(r"convnext(v2)?_.*", r"test_convnext.*"),
    patterns=(
        GroupPattern("stem", r"backbone\.stem\."),
        *(
            pattern
            for stage in STAGES
            for pattern in (
                # A stage's downsampling comes right before its first block.
                GroupPattern(f"block {stage}.0", rf"backbone\.stages\.{stage}\.(downsample|blocks\.0)\."),
                GroupPattern(f"block {stage}.{{}}", rf"backbone\.stages\.{stage}\.blocks\.(\d+)\."),
            )
        ),
        GroupPattern("norm", r"backbone\.(norm_pre|head\.norm)\."),
        GroupPattern("head", r"backbone\.head\.fc\."),
    ),
    rates=Rates(
        pretraining=4e-3,
        fine_tuning=5e-5,
        source="Liu et al. 2022, ConvNeXt, arXiv:2201.03545, tables 5 and 6 (AdamW): 4e-3; fine-tuning 5e-5",
    ),
    tiny=tiny,
    extras={"after": ("head.norm",)},
)
