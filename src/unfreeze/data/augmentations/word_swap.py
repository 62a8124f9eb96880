"""Swap words of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._words import Text, each_text, join, split
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator


def word_swap(argument: str | None) -> Callable[[Text, Generator], Text]:
    """Swap two random words, as many times as that share of the words says, 0.1 by default."""
    share = number("word-swap", argument, default=0.1, low=0, high=1)

    def change(text: str, rng: Generator) -> str:
        words, spaces = split(text)
        for _ in range(int(rng.binomial(len(words), share)) if len(words) > 1 else 0):
            first, second = rng.choice(len(words), size=2, replace=False)
            words[first], words[second] = words[second], words[first]
        return join(words, spaces)

    return each_text(change)


AUGMENTATION = Augmentation(
    Card(
        what="swaps random words, on average one pair for every ten words (`word-swap:0.1`)",
        when="a few hundred rows whose topic matters more than word order; not for grammar or entailment",
        cost="next to nothing; frozen layers can no longer be replayed",
        evidence="gains below about 500 rows in the source, for networks without pre-training; no consistent ones for "
        "pre-trained transformers (arXiv:2010.01764)",
        source="Wei and Zou 2019, arXiv:1901.11196",
    ),
    modality="text",
    level="input",
    make=word_swap,
    order=10,
)
