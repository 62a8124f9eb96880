"""Inception-v3, without its auxiliary head."""

from __future__ import annotations

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "inception_v3", {}


# The order of the forward pass, which registration does not promise.
MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")


FAMILY = Family(
    name="inception",
    modality="image",
    library="timm",
    matches=(r"inception_v3",),
    patterns=(
        GroupPattern("stem", r"backbone\.Conv2d_"),
        *(GroupPattern(f"block {number}", rf"backbone\.Mixed_{name}\.") for number, name in enumerate(MIXED)),
        GroupPattern("head", r"backbone\.fc\."),
    ),
    rates=Rates(
        pretraining=4.5e-2,
        fine_tuning=1e-4,
        source="Szegedy et al. 2015, arXiv:1512.00567, section 8 (RMSProp, 0.045); the rate for AdamW is chosen here",
    ),
    tiny=tiny,
    extras={"options": {"aux_logits": False}, "smallest": 75},
)
