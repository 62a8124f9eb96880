"""QLoRA: the frozen linear layers are kept in 8 or 4 bits, and updates of low rank learn beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.errors import ModelError
from unfreeze.methods import lora
from unfreeze.methods._peft import backbone_of, merge_layers
from unfreeze.methods._targets import is_linear, layers_of, own_kind, topmost_blocks
from unfreeze.recipe import option
from unfreeze.registry import Card

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained


@dataclass(frozen=True, kw_only=True)
class Settings(lora.Settings):
    """LoRA's, and how the base is kept."""

    bits: Literal[4, 8] | None = option(
        None, "of each weight of the base: 4 (NormalFloat) or 8; none: 4 where there is a GPU, 8 on a CPU"
    )


def quantise_and_add(pretrained: Pretrained, settings: Settings) -> Settings:
    """Keep the blocks' linear layers in few bits and put updates beside them, in place; returns what was decided.

    Outputs are, to the bit or with an informed start up to rounding, those of the quantised base, not of the base.

    Raises
    ------
    RecipeError, ModelError
        As for LoRA, and if the blocks have no linear layers.
    """
    from unfreeze.models.quantised import quantise

    backbone: Any = backbone_of(pretrained)
    names = _quantisable(pretrained)
    bits: Literal[4, 8] = settings.bits or default_bits()
    before = sum(backbone.get_submodule(name).weight.numel() for name in names)
    quantise(backbone, names, bits)
    decided = replace(lora.add_low_rank(pretrained, settings), bits=bits)
    line = f"{before:,} weights of {len(names)} frozen linear layers are kept in {bits} bits each"
    pretrained.tuned = [line, *pretrained.tuned]
    return decided


def default_bits() -> Literal[4, 8]:
    """4 bits for a GPU, whose memory is short; 8 on a CPU, which stay closer to the base."""
    import torch

    return 4 if torch.cuda.is_available() else 8


def fold_whole(pretrained: Pretrained, settings: Settings) -> None:
    """Make the base's weights whole and add the updates to them, in place."""
    from unfreeze.models.quantised import dequantise, transpose

    backbone = backbone_of(pretrained)
    transposed = dequantise(backbone)
    merge_layers(pretrained)
    transpose(backbone, [name.removesuffix(".base_layer") for name in transposed])


def _quantisable(pretrained: Pretrained) -> list[str]:
    inside = set(topmost_blocks(pretrained, None))
    names = [
        layer.name
        for layer in layers_of(pretrained)
        if layer.group in inside and is_linear(layer.module) and own_kind(layer.module) is None
    ]
    if not names:
        raise ModelError(
            f"'qlora' keeps linear layers in few bits, and the blocks of '{pretrained.provenance.name}' "
            f"({pretrained.family.name}) have none: take 'lora'."
        )
    return names


METHOD = replace(
    lora.METHOD,
    card=Card(
        what="As `lora`, with the frozen linear layers of the blocks kept in 8 or 4 bits.",
        when="A base beside which training does not fit into memory otherwise; it is read whole before it is made "
        "small. Where it fits, `lora` is faster and exact. Not for convolutional networks.",
        cost="Each weight of the blocks takes 1.06 bytes in 8 bits and 0.56 in 4, instead of 4, or of 6 where training "
        "computes in bfloat16. They are made whole for each product and once more in the backward pass. On a CPU "
        "all-MiniLM-L6-v2 takes a tenth more time or less for 16 texts of 64 tokens, and for a single short one 1.2 "
        "(8 bits) or 2.7 times (4 bits) as much. With `pip install 'unfreeze[qlora]'` "
        "bitsandbytes makes 4-bit weights whole, on a GPU or a CPU: the same numbers, faster.",
        evidence="In the source 4 bits with LoRA beside all layers match LoRA over 16 bits, for models of billions of "
        "parameters. Small ones bear it less: before anything is learned, features of all-MiniLM-L6-v2 move by 7 % "
        "in 8 bits and 35 % in 4. Predictions are those of the quantised base, and `unfreeze merge` keeps them. In "
        "peft's layout an adapter meets the original base elsewhere, and then differs by the quantisation.",
        source="Dettmers et al. 2023, arXiv:2305.14314",
    ),
    rewrite=quantise_and_add,
    options=Settings,
    merge=fold_whole,
)
