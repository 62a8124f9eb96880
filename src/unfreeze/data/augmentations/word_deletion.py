"""Leave out words of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from unfreeze.data.augmentations._argument import number
from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.data.augmentations._words import Text, each_text, join, split
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator


def word_deletion(argument: str | None) -> Callable[[Text, Generator], Text]:
    """Leave out each word with that probability, 0.1 by default; one word always stays."""
    share = number("word-deletion", argument, default=0.1, low=0, high=1)

    def change(text: str, rng: Generator) -> str:
        words, spaces = split(text)
        if not words:
            return text
        kept = rng.random(len(words)) >= share
        if not kept.any():
            kept[rng.integers(len(words))] = True
        stays = [index for index, keep in enumerate(kept) if keep]
        # Each word takes the space that follows it along, so that what is left reads as before.
        return join([words[i] for i in stays], [spaces[0], *(spaces[i + 1] for i in stays)])

    return each_text(change)


AUGMENTATION = Augmentation(
    Card(
        what="leaves out every tenth word (`word-deletion:0.1`)",
        when="a few hundred rows whose label rests on more than one word; not where 'not' decides",
        cost="next to nothing; frozen layers can no longer be replayed",
        evidence="gains below about 500 rows in the source, for networks without pre-training; no consistent ones for "
        "pre-trained transformers (arXiv:2010.01764)",
        source="Wei and Zou 2019, arXiv:1901.11196",
    ),
    modality="text",
    level="input",
    make=word_deletion,
    order=20,
)
