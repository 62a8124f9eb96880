"""Learned vectors that stand for tokens: what prefix and prompt tuning put into a model, and what they begin as."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError, RecipeError
from unfreeze.models._state import seeded
from unfreeze.models.text import TextModel, position_limit
from unfreeze.models.tokens import TextPreprocessor

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained

COMMON = 5000
"""Words among which a start is drawn, the most common first, as tokenizers number them (Lester et al. 2021)."""

SEED = 0
"""Of what is drawn at random: a rewrite has to come out the same each time that a model is loaded."""

SLOWER = 0.1
"""How much slower a network's weights learn than the vectors, whose rate is too high for them."""


class VirtualTokens(nn.Module):
    """Vectors of shape (length, width), held in the unit of the real ones, so that one learning rate suits all models.

    Parameters
    ----------
    start : Tensor of shape (length, width)
    unit : Tensor that broadcasts to it
        Root mean square of the real vectors in whose place these stand.
    hidden : int, optional
        The vectors are trained through a network of that width with a residual connection, which begins as the
        identity; `fold` puts its result in its place. Razdaibiedina et al. 2023, arXiv:2305.03937.
    """

    unit: Tensor

    def __init__(self, start: Tensor, unit: Tensor, hidden: int | None = None) -> None:
        super().__init__()
        self.tokens = nn.Parameter((start / unit).contiguous())
        self.register_buffer("unit", unit.clone())
        self.network = None if hidden is None else _Network(start.shape[1], hidden)

    def forward(self) -> Tensor:
        """The vectors as the model reads them."""
        tokens: Tensor = self.tokens
        if self.network is not None:
            tokens = tokens + self.network(tokens)
        return tokens * self.unit.to(tokens.dtype)

    @torch.no_grad()
    def start_as(self, vectors: Tensor) -> None:
        """Let the model read these at first, of shape (length, width)."""
        self.tokens.copy_(vectors / self.unit)

    @torch.no_grad()
    def fold(self) -> None:
        """Keep what the network makes of the vectors, and drop the network."""
        if self.network is not None:
            self.tokens.copy_(self.tokens + self.network(self.tokens))
            self.network = None


class _Network(nn.Module):
    """Two layers whose result is zero at first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        with seeded(SEED):
            self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        with torch.no_grad():
            for parameter in self.first.parameters():
                parameter.div_(SLOWER)
            for parameter in self.last.parameters():
                parameter.zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors of shape (length, width) to what is added to them."""
        result: Tensor = SLOWER * self.last((SLOWER * self.first(tokens)).tanh())
        return result


def fold(module: nn.Module) -> None:
    """Fold every `VirtualTokens` of a module, in place."""
    for child in list(module.modules()):
        if isinstance(child, VirtualTokens):
            child.fold()


def normal(*shape: int) -> Tensor:
    """Random numbers of mean 0 and deviation 1, the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(SEED))


def size_of(vectors: Tensor) -> Tensor:
    """Their root mean square, never zero."""
    return vectors.float().square().mean().sqrt().clamp(min=1e-6)


def starting_ids(tokenizer: Any, length: int, text: str | None) -> Tensor:
    """Ids of as many tokens: those of a text, repeated or cut, or else drawn among the most common words.

    Returns
    -------
    Tensor of shape (length,)

    Raises
    ------
    RecipeError
        If the text has no tokens.
    """
    if text is None:
        words = torch.tensor(_common_words(tokenizer))
        ids = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(SEED))]
    else:
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=torch.long)
        if not len(ids):
            raise RecipeError(f"method.options.text must hold words to begin with. Got {text!r} instead.")
    return ids.repeat(-(-length // len(ids)))[:length]


def _common_words(tokenizer: Any) -> list[int]:
    special = set(tokenizer.all_special_ids)
    by_id = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
    tokens = [(token, number) for token, number in by_id if token and number not in special]
    # Where a mark tells the beginning of a word from its other pieces, only beginnings are words.
    begin = [(token[1:], number) for token, number in tokens if token[0] in "Ġ▁"]
    words = [number for token, number in begin or tokens if len(token) > 1 and token.isalpha()]
    return (words or [number for _, number in tokens])[:COMMON]


def leave_room(pretrained: Pretrained, length: int) -> None:
    """Where the model's table of positions has to hold virtual tokens too, let texts be as much shorter as is needed.

    Raises
    ------
    ModelError
        If the length of texts was asked for, or next to nothing of them would be left.
    """
    spec, preprocess, module = pretrained.spec, pretrained.preprocess, pretrained.module
    assert isinstance(module, TextModel), "only texts have positions"
    assert isinstance(preprocess, TextPreprocessor), "a text model's"
    limit = position_limit(pretrained.family, module.backbone.config)
    if limit is None or length + spec["max_length"] <= limit:
        return
    room = limit - length
    least = int(preprocess.tokenizer.num_special_tokens_to_add(pair=True)) + 2
    asked = spec.get("reasons", {}).get("max_length") == "as asked"
    if asked or room < least:
        raise ModelError(
            f"'{pretrained.provenance.name}' has {limit} positions for {length} virtual tokens and model.max_length = "
            f"{spec['max_length']}: make method.options.length{' or model.max_length' if asked else ''} smaller."
        )
    pretrained.preprocess = replace(preprocess, max_length=room)
    spec["max_length"] = room
    spec["reasons"] = {
        **spec.get("reasons", {}),
        "max_length": f"{length} of the model's {limit} positions are the virtual tokens'",
    }
