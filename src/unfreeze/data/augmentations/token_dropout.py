"""Leave out tokens of an encoded text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._tokens import IDS, ordinary
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor


def token_dropout(argument: str | None) -> Callable[..., dict[str, Tensor]]:
    """Leave out each token with that probability, 0.1 by default; special tokens and one other always stay."""
    share = number("token-dropout", argument, default=0.1, low=0, high=1)

    def change(sample: dict[str, Tensor], rng: Generator, facts: Mapping[str, Any]) -> dict[str, Tensor]:
        import torch

        free = ordinary(sample, facts)
        dropped = free & (rng.random(len(free)) < share)
        if not (free & ~dropped).any() and free.any():
            dropped[rng.choice(free.nonzero()[0])] = False
        kept = torch.from_numpy(~dropped)
        return {name: value[kept] if _per_token(value, sample) else value for name, value in sample.items()}

    return change


def _per_token(value: Tensor, sample: Mapping[str, Tensor]) -> bool:
    return value.ndim > 0 and value.shape[0] == sample[IDS].shape[0]


AUGMENTATION = Augmentation(
    Card(
        what="leaves out every tenth token (`token-dropout:0.1`)",
        when="as word-deletion, with pieces of words",
        cost="next to nothing; frozen layers can no longer be replayed",
        evidence="proposed for averages of word vectors; no study known here shows a gain for transformers",
        source="Iyyer et al. 2015, doi:10.3115/v1/P15-1162 (word dropout)",
    ),
    modality="text",
    level="sample",
    make=token_dropout,
    order=10,
)
