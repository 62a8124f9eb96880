"""L2-SP: weights are pulled towards where they started instead of towards zero.

Source: Li, Grandvalet & Davoine 2018, Explicit Inductive Bias for Transfer Learning, arXiv:1802.01483.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unfreeze.train.hooks import Hook, LoopState


class StartingPoint(Hook):
    """Adds the gradient of strength / 2 · ‖w - w⁰‖² for every pre-trained parameter that learns.

    It is added to the gradients directly, which costs no pass through autograd. The new head has no starting point
    worth keeping and is left to `training.weight_decay`; that also pulls the other weights towards zero, and the
    paper's form has it at 0 for them.

    Parameters
    ----------
    strength : float
        α in the paper, which tries 0.001 to 1 with plain SGD.
    """

    copies = 1

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.start: dict[str, Tensor] = {}

    def before_phase(self, loop: LoopState) -> None:
        """Remember the weights of groups that learn for the first time: they are the pre-trained ones still."""
        for name, parameter in _pulled(loop).items():
            start = self.start.get(name)
            self.start[name] = parameter.detach().clone() if start is None else start.to(parameter.device)

    @torch.no_grad()
    def after_backward(self, loop: LoopState) -> None:
        """Add the pull to the gradients."""
        for name, parameter in _pulled(loop).items():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - self.start[name], alpha=self.strength)

    def state(self) -> dict[str, Tensor]:
        """Where the weights started."""
        return dict(self.start)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Know again where the weights started."""
        self.start = {name: tensor.clone() for name, tensor in state.items()}


def _pulled(loop: LoopState) -> dict[str, Tensor]:
    """The parameters that learn, without the head's, by full name."""
    assert loop.phase is not None
    head = loop.stack.names[-1]
    return {
        name: parameter
        for group in loop.phase.learn
        if group != head
        for name, parameter in loop.stack.parameters(loop.stack.group(group))
    }
