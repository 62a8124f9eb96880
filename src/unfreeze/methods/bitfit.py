"""BitFit: of the pre-trained layers only the biases learn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unfreeze.errors import ModelError
from unfreeze.methods._method import Method, added_and_head, nothing_to_fold
from unfreeze.methods._targets import layers_of, topmost_blocks, words
from unfreeze.recipe import Count, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained

LABEL = "biases"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How many of them."""

    blocks: Count | None = option(
        None, "only in so many of the topmost blocks, and above them; none: all below the head"
    )


def pick_biases(pretrained: Pretrained, settings: Settings) -> None:
    """Let the biases of each block be a layer group of their own.

    Raises
    ------
    ModelError
        If there are none.
    """
    names = pretrained.stack().names
    lowest = 0 if settings.blocks is None else names.index(topmost_blocks(pretrained, settings.blocks)[0])
    above = set(names[lowest:])
    biased = [
        layer
        for layer in layers_of(pretrained)
        if layer.group in above and layer.module._parameters.get("bias") is not None
    ]
    if not biased:
        raise ModelError(
            f"The layers of '{pretrained.provenance.name}' ({pretrained.family.name}) have no biases that could learn. "
            "Take 'norm-only' or 'ia3'."
        )
    own = "|".join(re.escape(f"backbone.{layer.name}") for layer in biased)
    pretrained.additions = (Addition(LABEL, rf"^(?:{own})\.bias$"),)
    pretrained.tuned = words(biased)


METHOD = Method(
    card=Card(
        what="Only the biases of the pre-trained layers learn, and the new head.",
        when="Few rows, and a very small file for each task. Not for models whose layers have no biases: Llama and its "
        "kin, ModernBERT, T5.",
        cost="Memory of the head's training plus activations: gradients flow through all layers down to the lowest, or "
        "with `blocks` to the lowest block that learns.",
        evidence="In the source within a point of full fine-tuning for BERT on most GLUE tasks, with 0.1 % of the "
        "parameters; behind it where there are many rows.",
        source="Ben Zaken et al. 2022, arXiv:2106.10199",
    ),
    phases=added_and_head,
    rewrite=pick_biases,
    options=Settings,
    additions=(Addition(LABEL, r"\.bias$"),),  # the rewrite says which of the model's these are
    rate=10.0,
    rate_reason="biases are few and each has to move further",
    merge=nothing_to_fold,
)
