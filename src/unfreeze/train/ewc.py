"""Elastic weight consolidation: each weight is pulled towards where it started, as hard as the features depend on it.

Source: Kirkpatrick et al. 2017, Overcoming Catastrophic Forgetting in Neural Networks, arXiv:1612.00796.

The paper weighs by the diagonal of the Fisher information of the old task's labels. A loaded network comes without that
task's data and without its head, so the likelihood here is that of its features, as normal around what the pre-trained
network makes of a row, with the spread of the features as the variance: F = E ‖∂f/∂w‖² / spread. The penalty is then
the distance of `matching` to second order. Memory Aware Synapses (Aljundi et al. 2018, arXiv:1711.09601) take the
features' length in place of the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unfreeze.train.feed import Feed
from unfreeze.train.hooks import Hook, LoopState
from unfreeze.train.matching import below_the_head, evaluating, features, spread
from unfreeze.train.order import generator

ROWS, TOGETHER = 512, 8
"""Rows that importance is estimated on, and how many of them share a backward pass: 64 draws, which leave each weight's
estimate a standard error of a sixth."""


class ElasticWeights(Hook):
    """Adds the gradient of strength / 2 · Σ F (w - w⁰)² for every parameter below the head that learns.

    Like `l2_sp` it is added to the gradients directly. F is estimated once, before training, for all groups that will
    ever learn.

    Parameters
    ----------
    strength : float
        λ in the paper; with 1 the term is, to second order and without what weights do together, half the features'
        squared distance in units of their spread. What they do together is most of it, so that more is needed: in one
        run of a sentence encoder on 240 rows, 10 held little of another set, and 100 half of what would have been lost.
    feed : Feed
        Rows that importance is estimated on: of the source set, else the task's own.
    groups : sequence of str
        Layer groups that learn in any phase.
    seed : int
        Of the rows that are drawn, and of the signs of the estimate.
    """

    copies = 2  # where weights started, and their importance

    def __init__(self, strength: float, feed: Feed, groups: Sequence[str], seed: int) -> None:
        self.strength = strength
        self.feed = feed
        self.groups = groups
        self.seed = seed
        self.start: dict[str, Tensor] = {}
        self.importance: dict[str, Tensor] = {}

    def before_phase(self, loop: LoopState) -> None:
        """Before the first phase, note where the weights are and how much the features depend on each."""
        pairs = below_the_head(loop, self.groups)
        if not self.start and pairs:
            rows = generator(self.seed, 5).permutation(len(self.feed))[:ROWS].tolist()
            self.importance = fisher(loop, self.feed, rows, self.groups, self.seed)
            self.start = {name: whole.detach().clone() for name, (whole, _) in pairs.items()}
        for kept in (self.start, self.importance):
            kept.update({name: tensor.to(pairs[name][0].device) for name, tensor in kept.items()})

    @torch.no_grad()
    def after_backward(self, loop: LoopState) -> None:
        """Add the pull to the gradients."""
        assert loop.phase is not None
        for name, (whole, _) in below_the_head(loop, loop.phase.learn).items():
            if whole.grad is not None:
                whole.grad.addcmul_(whole - self.start[name], self.importance[name], value=self.strength)

    def state(self) -> dict[str, Tensor]:
        """Where the weights started, and how much the features depended on each."""
        return {f"start.{name}": tensor for name, tensor in self.start.items()} | {
            f"importance.{name}": tensor for name, tensor in self.importance.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with these."""
        self.start, self.importance = (
            {name.removeprefix(part): tensor.clone() for name, tensor in state.items() if name.startswith(part)}
            for part in ("start.", "importance.")
        )


def fisher(loop: LoopState, feed: Feed, rows: Sequence[int], groups: Sequence[str], seed: int) -> dict[str, Tensor]:
    """E ‖∂f/∂w‖² / spread for each parameter below the head of these groups, by full name, in float32.

    The squared gradient of Σ s · f, with a random sign s for each row and feature, has ‖∂f/∂w‖² summed over the rows as
    its expectation (Hutchinson 1990): one backward pass for several rows instead of one for each feature of each.
    """
    pairs = below_the_head(loop, groups)
    mine = [parameter for _, parameter in pairs.values()]
    learning = [parameter.requires_grad for parameter in mine]
    squares = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in mine]
    draw = torch.Generator().manual_seed(seed)
    seen: list[Tensor] = []
    for parameter in mine:
        parameter.requires_grad_(True)
    try:
        with evaluating(loop.working.module):
            for at in range(0, len(rows), TOGETHER):
                found = features(loop, feed, rows[at : at + TOGETHER])
                signs = torch.randint(2, found.shape, generator=draw).to(found) * 2 - 1
                for square, gradient in zip(
                    squares, torch.autograd.grad((found * signs).sum(), mine, allow_unused=True), strict=True
                ):
                    if gradient is not None:
                        square += gradient.float().square()
                seen.append(found.detach().cpu())
    finally:
        for parameter, learns in zip(mine, learning, strict=True):
            parameter.requires_grad_(learns)
    scale = len(rows) * spread(torch.cat(seen))
    return {name: square / scale for name, square in zip(pairs, squares, strict=True)}
