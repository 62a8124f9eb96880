"""The new head: one linear layer with dropout on its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Linear):
    """Dropout, then a linear layer.

    The dropout is inside so that a replayed input of the head is still dropped at random in training.
    """

    def __init__(self, width: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__(width, outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        """Features of shape (rows, width) to outputs of shape (rows, outputs)."""
        # The head computes in its own type, float32, whatever the layers below it compute in.
        return super().forward(self.dropout(input.to(self.weight.dtype)))


def initialise(head: nn.Linear, seed: int) -> None:
    """Small normal weights and no bias, from the seed alone (the global generator is left as it is).

    Source: the heads of BERT, GPT-2 and ViT start with a standard deviation of 0.02.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 0.02, generator=generator)
        head.bias.zero_()
