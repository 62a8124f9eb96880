"""An exponential moving average of what learns, used for validation and for the final weights.

Source: Polyak & Juditsky 1992; the warm-up of the decay is that of TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unfreeze.train.hooks import Hook, LoopState


def decay_at(update: int, decay: float) -> float:
    """The decay for an update (from 1): small at first, so that the average soon forgets where it began."""
    return min(decay, (1 + update) / (10 + update))


class ExponentialAverage(Hook):
    """Averages the parameters and floating-point buffers of the groups that learn.

    The average begins anew with each phase, from the weights of that moment, as the learning rate does. Groups that
    have stopped learning stay as they were trained, and what was replayed from them stays true.

    Parameters
    ----------
    decay : float
        Weight of the old average in (0, 1), reached after a warm-up.
    """

    copies = 2  # the average and, while validation runs, the weights that it stands for

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.phase = -1
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}

    def before_phase(self, loop: LoopState) -> None:
        """Begin from the present weights, unless an interrupted phase is being continued."""
        present = learning_tensors(loop)
        if loop.phase_index != self.phase:
            self.phase, self.updates = loop.phase_index, 0
            self.average = {name: tensor.detach().clone() for name, tensor in present.items()}
        else:
            self.average = {name: tensor.to(present[name].device) for name, tensor in self.average.items()}

    @torch.no_grad()
    def after_step(self, loop: LoopState) -> None:
        """average ← decay · average + (1 - decay) · weights."""
        self.updates += 1
        share = 1 - decay_at(self.updates, self.decay)
        for name, tensor in learning_tensors(loop).items():
            self.average[name].lerp_(tensor, share)

    def before_evaluation(self, loop: LoopState) -> None:
        """Put the average in place of the weights."""
        self._trained = {name: tensor.detach().clone() for name, tensor in learning_tensors(loop).items()}
        _put(loop, self.average)

    def after_evaluation(self, loop: LoopState) -> None:
        """Put the weights back, exactly."""
        _put(loop, self._trained)
        self._trained = {}

    def state(self) -> dict[str, Tensor]:
        """The average, and since when it runs."""
        average = {f"average.{name}": tensor for name, tensor in self.average.items()}
        return {"counts": torch.tensor([self.phase, self.updates]), **average}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue the average."""
        self.phase, self.updates = (int(count) for count in state["counts"])
        self.average = {
            name.removeprefix("average."): tensor.clone()
            for name, tensor in state.items()
            if name.startswith("average.")
        }


def learning_tensors(loop: LoopState) -> dict[str, Tensor]:
    """Parameters and floating-point buffers of the groups that learn in this phase, by full name."""
    assert loop.phase is not None
    found: dict[str, Tensor] = {}
    for name in loop.phase.learn:
        group = loop.stack.group(name)
        found.update(loop.stack.parameters(group))
        found.update((name, buffer) for name, buffer in loop.stack.buffers(group) if buffer.is_floating_point())
    return found


@torch.no_grad()
def _put(loop: LoopState, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in learning_tensors(loop).items():
        tensor.copy_(tensors[name])
