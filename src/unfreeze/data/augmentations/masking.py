"""Hide tokens of an encoded text behind the model's mask token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._tokens import IDS, ordinary
from unfreeze.errors import RecipeError
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor


def masking(argument: str | None) -> Callable[..., dict[str, Tensor]]:
    """Hide each token with that probability, 0.15 by default; special tokens stay.

    The function that it gives raises RecipeError when the model has no mask token.
    """
    share = number("masking", argument, default=0.15, low=0, high=1)

    def change(sample: dict[str, Tensor], rng: Generator, facts: Mapping[str, Any]) -> dict[str, Tensor]:
        import torch

        if facts.get("mask_id") is None:
            raise RecipeError(
                "training.augment: 'masking' needs a model with a mask token, such as BERT, and this one has none. "
                "Use token-dropout."
            )
        free = ordinary(sample, facts)
        hidden = torch.from_numpy(free & (rng.random(len(free)) < share))
        return {**sample, IDS: sample[IDS].masked_fill(hidden, int(facts["mask_id"]))}

    return change


AUGMENTATION = Augmentation(
    Card(
        what="hides 15 % of the tokens behind the model's mask token (`masking:0.15`)",
        when="masked language models (BERT and its kin), which know the mask from pre-training",
        cost="next to nothing; frozen layers can no longer be replayed",
        evidence="how BERT is pre-trained; no study known here shows a gain in fine-tuning",
        source="Devlin et al. 2019, arXiv:1810.04805",
    ),
    modality="text",
    level="sample",
    make=masking,
    order=20,
)
