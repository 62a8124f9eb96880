"""Only scales and offsets of normalisation layers learn, and the new head."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unfreeze.errors import ModelError
from unfreeze.methods._method import Method, added_and_head, nothing_to_fold
from unfreeze.methods._targets import Layer, layers_of, topmost_blocks, words
from unfreeze.recipe import Count, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained

LABEL = "norms"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How many of them."""

    blocks: Count | None = option(
        None, "only in so many of the topmost blocks, and above them; none: all below the head"
    )


def pick_norms(pretrained: Pretrained, settings: Settings) -> None:
    """Let scales and offsets of normalisation layers be a layer group of their own in each block.

    Running statistics of BatchNorm are no part of it: they stay, and normalise as they did in pre-training.

    Raises
    ------
    ModelError
        If there are none.
    """
    names = pretrained.stack().names
    lowest = 0 if settings.blocks is None else names.index(topmost_blocks(pretrained, settings.blocks)[0])
    above = set(names[lowest:])
    norms = [layer for layer in layers_of(pretrained) if layer.group in above and is_norm(layer)]
    if not norms:
        raise ModelError(
            f"'{pretrained.provenance.name}' ({pretrained.family.name}) has no normalisation layers that could learn."
        )
    own = "|".join(re.escape(f"backbone.{layer.name}") for layer in norms)
    pretrained.additions = (Addition(LABEL, rf"^(?:{own})\.(?:weight|bias)$"),)
    pretrained.tuned = words(norms)


def is_norm(layer: Layer) -> bool:
    """Any of the libraries' normalisation layers: LayerNorm, RMSNorm, BatchNorm, GroupNorm and their kin."""
    return "Norm" in type(layer.module).__name__


METHOD = Method(
    card=Card(
        what="The scales and offsets of LayerNorm, BatchNorm and their kin learn, and the new head. BatchNorm's "
        "statistics stand still.",
        when="Few rows, or another kind of data (other lighting, another register) for the same kind of question. "
        "Not for networks without such layers: VGG.",
        cost="Memory of activations as in full fine-tuning: gradients flow through all layers down to the lowest norm, "
        "or with `blocks` to that of the lowest block that learns.",
        evidence="In the first source even random networks learn much through BatchNorm alone; in the second, tuning "
        "LayerNorm alone rivals LoRA for multi-modal language models. Behind full fine-tuning where rows are many.",
        source="Frankle et al. 2021, arXiv:2003.00152; Zhao et al. 2023, arXiv:2312.11420",
    ),
    phases=added_and_head,
    rewrite=pick_norms,
    options=Settings,
    additions=(Addition(LABEL, r"[Nn]orm.*\.(weight|bias)$"),),  # the rewrite says which of the model's these are
    rate=30.0,
    rate_reason="scales and offsets are few and each has to move further; the best of 10, 30 and 100 on the validation "
    "rows of three text sets and one image set (docs/results.md)",
    merge=nothing_to_fold,
)
