"""Between where fine-tuning began and where it ended: weights on the line between both, of which validation chooses.

Source: Wortsman et al. 2022, Robust fine-tuning of zero-shot models (WiSE-FT), arXiv:2109.01903.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from unfreeze.train.hooks import Hook, LoopState, Proposal

GRID = tuple(step / 10 for step in range(11))
"""Shares of the fine-tuned weights that are tried."""

MIDDLE = 0.5
"""The share that the source recommends where there is nothing to choose by; of equals the nearest to it is taken."""


class Interpolation(Hook):
    """Keeps the weights with which the latest phase began and its best ones, and proposes mixtures of both.

    Parameters
    ----------
    alpha : float, optional
        The share of the fine-tuned weights; None: chosen on validation among tenths, or 0.5 without validation rows.
    """

    copies = 3  # both ends, and the mixture

    def __init__(self, alpha: float | None = None) -> None:
        self.alpha = alpha
        self.phase = -1
        self.best = -math.inf
        self.start: dict[str, Tensor] = {}
        self.end: dict[str, Tensor] = {}
        self.curve: list[tuple[float, dict[str, float]]] = []
        self.taken: float | None = None
        self.statistics: dict[float, dict[str, Tensor]] = {}

    def before_phase(self, loop: LoopState) -> None:
        """Remember where the phase begins, unless an interrupted one is being continued."""
        if loop.phase_index != self.phase:
            self.phase, self.best = loop.phase_index, -math.inf
            self.start, self.end = _copied(loop), {}

    def after_evaluation(self, loop: LoopState) -> None:
        """Remember the phase's best weights; of equals, and without validation, the latest."""
        if not loop.validation or loop.score >= self.best or not self.end:
            self.best = loop.score if loop.validation else self.best
            self.end = _copied(loop)

    def proposals(self, loop: LoopState) -> Iterator[Proposal]:
        """Mixtures from the recommended one outwards, so that the nearest to it is taken of equals."""
        if not self.end:
            return
        shares = GRID if self.alpha is None else (self.alpha,)
        for alpha in sorted(shares, key=lambda share: abs(share - MIDDLE)):
            yield Proposal(_name(alpha), self.at(alpha), mixed=0 < alpha < 1)

    def judged(self, loop: LoopState, proposal: Proposal, figures: Mapping[str, float]) -> None:
        """Keep the figures for the curve, and the statistics that were estimated for it."""
        alpha = _alpha(proposal)
        self.curve.append((alpha, dict(figures)))
        now = dict(loop.stack.module.named_buffers())
        self.statistics[alpha] = {name: now[name].detach().cpu().clone() for name in proposal.tensors if name in now}

    def chosen(self, loop: LoopState, proposal: Proposal) -> None:
        """Keep which one it was."""
        self.taken = _alpha(proposal)

    def at(self, alpha: float) -> dict[str, Tensor]:
        """The weights so far along the line, 0 and 1 being its ends to the bit; what is no fraction is the end's."""
        if alpha <= 0:
            return dict(self.start)
        mixed = {
            name: torch.lerp(self.start[name], end, alpha) if end.is_floating_point() and alpha < 1 else end
            for name, end in self.end.items()
        }
        return {**mixed, **self.statistics.get(alpha, {})}

    def state(self) -> dict[str, Tensor]:
        """Both ends, the phase that they are of, and the best score in it."""
        start = {f"start.{name}": tensor for name, tensor in self.start.items()}
        end = {f"end.{name}": tensor for name, tensor in self.end.items()}
        counts = {"phase": torch.tensor(self.phase), "best": torch.tensor(self.best, dtype=torch.float64)}
        return {**counts, **start, **end}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with them."""
        self.phase, self.best = int(state["phase"]), float(state["best"])
        self.start, self.end = (
            {name.removeprefix(prefix): tensor.clone() for name, tensor in state.items() if name.startswith(prefix)}
            for prefix in ("start.", "end.")
        )


def _copied(loop: LoopState) -> dict[str, Tensor]:
    """Everything that this phase changes, on the CPU."""
    assert loop.phase is not None
    found: dict[str, Tensor] = {}
    for name in loop.phase.learn:
        group = loop.stack.group(name)
        found.update(loop.stack.parameters(group))
        found.update(loop.stack.buffers(group))
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in found.items()}


def _name(alpha: float) -> str:
    return f"alpha {alpha:g}"


def _alpha(proposal: Proposal) -> float:
    return float(proposal.name.removeprefix("alpha "))
