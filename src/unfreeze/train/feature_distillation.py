"""Distillation from the pre-trained network: features of the task's own rows are held near what it made of them.

Source: Jung et al. 2016, Less-forgetting Learning in Deep Neural Networks, arXiv:1607.00122, which holds what enters
the head on the new task's inputs; Li & Hoiem 2016, Learning without Forgetting, arXiv:1606.09282, holds the outputs of
the old head, which a loaded body no longer has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from unfreeze.train.distillation import head_of
from unfreeze.train.feed import Feed
from unfreeze.train.hooks import Hook, LoopState
from unfreeze.train.matching import (
    all_features,
    below_the_head,
    distances,
    evaluating,
    features,
    learns_below_the_head,
    pull,
    spread,
)
from unfreeze.train.memory import Portions


class FeatureDistillation(Hook):
    """Adds strength · ‖f - f⁰‖² / spread to the loss, averaged over the rows of the batch.

    f are the features that enter the head; f⁰ what they were when training began, computed once per row. Where rows are
    augmented, f⁰ would belong to another input than f: then a second pass reads the rows as they are, which costs as
    much as the first.

    Parameters
    ----------
    strength : float
        1 weighs a row whose features lie one spread away like a loss of 1.
    feed : Feed
        The training rows.
    batch_size : int
        Rows that are read at a time.
    """

    def __init__(self, strength: float, feed: Feed, batch_size: int) -> None:
        self.strength = strength
        self.feed = feed
        self.batch_size = batch_size
        self.again = feed.pipeline is not None
        self.copies = int(self.again)
        self.wanted: Tensor | None = None
        self._scale = 1.0
        self._features: list[Tensor] = []
        self._rows: list[int] = []
        self._handle: RemovableHandle | None = None
        self._portions = Portions()

    def kept(self, width: int) -> int:
        """Bytes of the features."""
        return len(self.feed) * width * 4

    def before_phase(self, loop: LoopState) -> None:
        """Before anything below the head learns, note what it makes of each row."""
        if learns_below_the_head(loop) and self.wanted is None:
            self._remember(all_features(loop, self.feed, self.batch_size))

    def before_step(self, loop: LoopState) -> None:
        """Look at what enters the head, for this update only."""
        if self.wanted is not None and not self.again and learns_below_the_head(loop):
            self._handle = head_of(loop).register_forward_hook(self._look)

    def term(self, loop: LoopState, rows: Sequence[int]) -> Tensor | None:
        """How far the features of these rows have moved, on average."""
        if self.wanted is None or not learns_below_the_head(loop):
            return None
        if self.again:
            self._rows += rows
            return None
        found = self._features.pop().float()
        return self.strength * distances(found, self.wanted[torch.tensor(rows)], self._scale).mean()

    def retry(self, loop: LoopState) -> None:
        """Forget the rows and features of passes that failed."""
        self._features.clear()
        self._rows.clear()

    def after_backward(self, loop: LoopState) -> None:
        """Stop looking; read augmented rows as they are."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
        if self._rows:
            assert loop.phase is not None
            pairs = list(below_the_head(loop, loop.phase.learn).values())
            weight = self.strength / len(self._rows)
            with evaluating(loop.working.module):
                pull(pairs, self._rows, self._portions, lambda rows: weight * self._distance(loop, rows))
            self._rows.clear()

    def state(self) -> dict[str, Tensor]:
        """What the features were."""
        return {} if self.wanted is None else {"features": self.wanted}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Know again what the features were."""
        if state:
            self._remember(state["features"].clone())

    def _remember(self, wanted: Tensor) -> None:
        self.wanted, self._scale = wanted, spread(wanted)

    def _distance(self, loop: LoopState, rows: Sequence[int]) -> Tensor:
        assert self.wanted is not None
        return distances(features(loop, self.feed, rows), self.wanted[torch.tensor(rows)], self._scale).sum()

    def _look(self, module: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        self._features.append(arguments[0])
