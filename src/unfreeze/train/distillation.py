"""Distillation of features: the network learns to say, in its last features, what a larger one says of the same row.

Source: Romero et al. 2015, FitNets: Hints for Thin Deep Nets, arXiv:1412.6550, with the cosine in place of the square.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torch.utils.hooks import RemovableHandle

from unfreeze.models.head import Head
from unfreeze.train.hooks import Hook, LoopState

_PARTS = ("step", "exp_avg", "exp_avg_sq")


class Distillation(Hook):
    """Adds strength · (1 - cos(P f, t)) to the loss, averaged over rows.

    f are the features that enter the head, t the teacher's, computed once per row before training, and P a linear
    projection that learns beside the network and is no part of what is saved.

    Parameters
    ----------
    teacher : Tensor of shape (training rows, width)
        The teacher's features; their mean over the rows is taken off, since the cosine would mostly measure it.
    strength : float
        Weight of the term beside the task's loss.
    lr : float
        Rate of the projection (Adam).
    seed : int
        Of the projection's first weights.
    """

    sees_weights = False  # but those of its own projection

    def __init__(self, teacher: Tensor, strength: float = 1.0, lr: float = 1e-3, seed: int = 0) -> None:
        self.teacher = teacher - teacher.mean(dim=0)
        self.strength = strength
        self.lr = lr
        self.seed = seed
        self.projection: nn.Linear | None = None
        self.optimizer: torch.optim.Adam | None = None
        self._features: list[Tensor] = []
        self._handle: RemovableHandle | None = None

    def before_phase(self, loop: LoopState) -> None:
        """Make the projection, once the width of the features is known."""
        if self.projection is None:
            width = head_of(loop).in_features
            self._make(width)
        assert self.projection is not None
        self.projection.to(next(loop.working.module.parameters()).device)

    def before_step(self, loop: LoopState) -> None:
        """Look at what enters the head, for this update only."""
        self._handle = head_of(loop).register_forward_hook(self._look)
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)

    def term(self, loop: LoopState, rows: Sequence[int]) -> Tensor | None:
        """How far the projected features point away from the teacher's, averaged over these rows."""
        assert self.projection is not None
        features = self._features.pop()
        wanted = self.teacher[torch.tensor(rows)].to(features.device)
        cosine = cosine_similarity(self.projection(features.float()), wanted.float())
        return self.strength * (1 - cosine).mean()

    def retry(self, loop: LoopState) -> None:
        """Forget the features and the projection's gradients of passes that failed."""
        self._features.clear()
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)

    def after_backward(self, loop: LoopState) -> None:
        """Let the projection take its own step and stop looking."""
        assert self._handle is not None
        assert self.optimizer is not None
        self._handle.remove()
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """The projection and its optimizer's moments."""
        if self.projection is None or self.optimizer is None:
            return {}
        found = {f"projection.{name}": tensor.detach() for name, tensor in self.projection.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"moments.{index}.{part}": moments[part] for part in _PARTS}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with that projection."""
        if not state:
            return
        self._make(state["projection.weight"].shape[1])
        assert self.projection is not None
        assert self.optimizer is not None
        self.projection.load_state_dict({name: state[f"projection.{name}"] for name in ("weight", "bias")})
        kept = self.optimizer.state_dict()
        kept["state"] = {
            index: {part: state[f"moments.{index}.{part}"].clone() for part in _PARTS}
            for index in range(2)
            if f"moments.{index}.step" in state
        }
        self.optimizer.load_state_dict(kept)

    def _make(self, width: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.projection = nn.Linear(width, self.teacher.shape[1])
        self.optimizer = torch.optim.Adam(self.projection.parameters(), self.lr)

    def _look(self, module: nn.Module, arguments: tuple[Tensor, ...], outputs: Tensor) -> None:
        """Behind the head, since replay puts in place what enters it only just before."""
        self._features.append(arguments[0])


def head_of(loop: LoopState) -> Head:
    """The new head of the network in training."""
    return next(module for module in loop.working.module.modules() if isinstance(module, Head))
