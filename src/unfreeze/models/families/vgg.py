"""VGG, with and without batch norm."""

from __future__ import annotations

from torch import nn

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> tuple[str, dict[str, object]]:
    """Name and options of a small model for tests."""
    return "vgg11", {"mlp_ratio": 0.01}


def patterns(module: nn.Module) -> tuple[GroupPattern, ...]:
    """One group per convolution, with the norm that follows it; the fully connected layers; the head."""
    features = module.get_submodule("backbone.features")
    groups: list[list[str]] = []
    for index, layer in features.named_children():
        if isinstance(layer, nn.Conv2d):
            groups.append([])
        if groups:
            groups[-1].append(index)
    blocks = [
        GroupPattern("stem" if number == 0 else f"block {number}", rf"backbone\.features\.({'|'.join(members)})\.")
        for number, members in enumerate(groups)
    ]
    return (
        *blocks,
        GroupPattern("pre-logits", r"backbone\.pre_logits\."),
        GroupPattern("head", r"backbone\.head\.fc\."),
    )


FAMILY = Family(
    name="vgg",
    modality="image",
    library="timm",
    matches=(r"vgg\d+(_bn)?",),
    patterns=(
        GroupPattern("block {}", r"backbone\.features\.(\d+)\."),
        GroupPattern("pre-logits", r"backbone\.pre_logits\."),
        GroupPattern("head", r"backbone\.head\.fc\."),
    ),
    rates=Rates(
        pretraining=1e-2,
        fine_tuning=5e-5,
        source="Simonyan and Zisserman 2014, arXiv:1409.1556, section 3.1 (SGD, 1e-2); the rate for AdamW is chosen "
        "here",
    ),
    tiny=tiny,
    extras={"patterns": patterns, "after": ("pre_logits",)},
)
