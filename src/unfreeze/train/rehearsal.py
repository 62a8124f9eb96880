"""Rehearsal: rows of a source set are read beside the task's, and their features held near the pre-trained ones.

The pre-trained network itself says what is right for a source row, so that any set will do, with other labels or none.

Source: Robins 1995, Catastrophic Forgetting, Rehearsal and Pseudorehearsal, Connection Science 7(2), for the mixing;
Li & Hoiem 2016, Learning without Forgetting, arXiv:1606.09282, and Jung et al. 2016, Less-forgetting Learning,
arXiv:1607.00122, for the pre-trained network as the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from unfreeze.train.order import generator


class Rehearsal(Hook):
    """Adds ‖f - f⁰‖² / spread of source rows to the loss, where each weighs as much as a row of the task.

    f are the features that enter the head, in eval mode; f⁰ what they were when training began, computed once per row.
    With an empty distance the loss is the plain one: a network that has not moved is not pulled. The rows are read in
    passes of their own after the task's backward pass, whose memory is free by then, through the whole network: what is
    frozen is not replayed for them.

    Parameters
    ----------
    share : float
        Of all rows of an update, those that come from the source set.
    feed : Feed
        Rows of the source set.
    batch_size : int
        Rows of the task per update.
    at_a_time : int
        Rows of a pass at most.
    seed : int
        Of the order in which source rows are read: all of them once, then again in another order.
    """

    copies = 1

    def __init__(self, share: float, feed: Feed, batch_size: int, at_a_time: int, seed: int) -> None:
        self.feed = feed
        self.rows = max(1, round(batch_size * share / (1 - share)))
        self.weight = 1.0 / batch_size
        self.at_a_time = at_a_time
        self.seed = seed
        self.wanted: Tensor | None = None
        self._scale = 1.0
        self._orders: dict[int, NDArray[np.int64]] = {}
        self._portions = Portions(most=at_a_time)

    def kept(self, width: int) -> int:
        """Bytes of the features and of the encoded rows."""
        return len(self.feed) * width * 4 + self.feed.bytes_at_most

    def before_phase(self, loop: LoopState) -> None:
        """Before anything below the head learns, note what it makes of each source row."""
        if learns_below_the_head(loop) and self.wanted is None:
            self._remember(all_features(loop, self.feed, 2 * self.at_a_time))

    def after_backward(self, loop: LoopState) -> None:
        """Add the gradients of this update's source rows."""
        if self.wanted is None or not learns_below_the_head(loop):
            return
        assert loop.phase is not None
        pairs = list(below_the_head(loop, loop.phase.learn).values())
        with evaluating(loop.working.module):
            pull(pairs, self.drawn(loop.step), self._portions, lambda rows: self.weight * self._distance(loop, rows))

    def drawn(self, step: int) -> list[int]:
        """The source rows of an update, which follow from its number alone."""
        places = range(step * self.rows, (step + 1) * self.rows)
        return [int(self._order(place // len(self.feed))[place % len(self.feed)]) for place in places]

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

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {epoch: generator(self.seed, 4, epoch).permutation(len(self.feed))}
        return self._orders[epoch]
