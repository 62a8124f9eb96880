"""Linear heads that stand on top of each other, so that one product computes all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unfreeze.models.head import initialise


@dataclass(frozen=True)
class Heads:
    """For each of several seeds as many linear heads, which read the same batches.

    Parameters
    ----------
    weight : Tensor of shape (seeds, heads, outputs, width)
    bias : Tensor of shape (seeds, heads, outputs)
    """

    weight: Tensor
    bias: Tensor

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return self.weight, self.bias

    def like(self) -> Heads:
        """As many of the same shape, all zero."""
        return Heads(torch.zeros_like(self.weight), torch.zeros_like(self.bias))

    def outputs(self, inputs: Tensor, seeds: slice = slice(None)) -> Tensor:
        """Of a batch for each of these seeds, (seeds, rows, width), to (seeds, rows, heads, outputs)."""
        weight, bias = self.weight[seeds].flatten(1, 2), self.bias[seeds]
        outputs = torch.baddbmm(bias.flatten(1)[:, None], inputs, weight.mT)
        return outputs.view(*outputs.shape[:2], *bias.shape[1:])

    def outputs_alike(self, inputs: Tensor) -> Tensor:
        """Of the same rows for every head, (rows, width), to (seeds, heads, rows, outputs)."""
        outputs = torch.addmm(self.bias.flatten(), inputs, self.weight.flatten(0, 2).mT)
        return outputs.view(-1, *self.bias.shape).movedim(0, 2)

    def slope(self, outputs: Tensor, inputs: Tensor, into: Heads, seeds: slice = slice(None)) -> None:
        """Write the gradient, given that of the outputs: both as in `outputs`."""
        flat = outputs.flatten(2)
        torch.bmm(flat.mT, inputs, out=into.weight[seeds].flatten(1, 2))
        torch.sum(flat, dim=1, out=into.bias[seeds].flatten(1))


def initial_heads(head: nn.Linear, seeds: Sequence[int], count: int) -> Heads:
    """For each seed `count` heads of that shape, type and device, with the weights that the seed begins with."""
    made = [nn.Linear(head.in_features, head.out_features) for _ in seeds]
    for one, seed in zip(made, seeds, strict=True):
        initialise(one, seed)
    weight = torch.stack([one.weight.detach() for one in made])[:, None].expand(-1, count, -1, -1)
    bias = torch.stack([one.bias.detach() for one in made])[:, None].expand(-1, count, -1)
    return Heads(*(tensor.to(head.weight).contiguous() for tensor in (weight, bias)))
