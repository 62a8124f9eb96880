"""The typed points of the loop at which a technique may act. The loop knows none by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from unfreeze.models.pretrained import Batch

if TYPE_CHECKING:
    from unfreeze.methods import Phase
    from unfreeze.stack.groups import LayerStack
    from unfreeze.tasks._task import Loss


@dataclass
class LoopState:
    """What the loop knows, for hooks to read. `step` counts updates over the whole run, `epoch` whole
    epochs over the whole run, `phase_epoch` those of this phase. `validation` holds the latest figures,
    `score` the selection metric turned so that more is better, `best` its best so far in the run. `loss` and
    `lr` are those of the latest update (`lr` of the topmost group that learns). `stack` is the master, whose weights
    are trained; `working` is the stack that computes, whose modules are called with a batch as `laid_out` puts it."""

    stack: LayerStack
    working: LayerStack
    laid_out: Callable[[Batch], Batch] = lambda batch: batch
    phase: Phase | None = None
    phase_index: int = 0
    step: int = 0
    epoch: int = 0
    phase_epoch: int = 0
    validation: Mapping[str, float] = field(default_factory=dict)
    score: float = float("-inf")
    best: float = float("-inf")
    loss: float = float("nan")
    lr: float = 0.0
    stop_phase: bool = False
    stop_run: bool = False


@dataclass(frozen=True)
class Proposal:
    """Weights that may take the place of the best epoch's once training is over.

    Parameters
    ----------
    name : str
        Told to people.
    tensors : mapping of full name to Tensor
        Parameters and buffers of groups that learned.
    mixed : bool
        No step of training has left these weights behind: BatchNorm's statistics are estimated anew for them.
    """

    name: str
    tensors: Mapping[str, Tensor]
    mixed: bool = False


class Hook:
    """Does nothing; a technique overrides the points that it needs.

    State that has to survive an interruption is returned by `state` as tensors and given back to
    `restore`; everything else must follow from `LoopState`.

    `copies` says how many copies of what learns it keeps, for forecasts of memory. `sees_weights` says whether it looks
    at weights or gradients, or changes them; where no hook does, not all of them have to be current at all times.
    """

    copies = 0
    sees_weights = True

    def kept(self, width: int) -> int:
        """Bytes that it keeps beside those copies, for forecasts; `width` is that of what enters the head."""
        return 0

    def before_phase(self, loop: LoopState) -> None:
        """The phase's groups have been set to learn."""

    def before_step(self, loop: LoopState) -> None:
        """Before the forward pass of an update."""

    def transform(self, loop: LoopState, batch: Batch, targets: Tensor) -> tuple[Batch, Tensor]:
        """Change a training batch (mixup): targets may become soft."""
        return batch, targets

    def term(self, loop: LoopState, rows: Sequence[int]) -> Tensor | None:
        """A term added to the loss of each forward pass: a mean over these training rows, which it has just read."""
        return None

    def weigh(self, loop: LoopState, rows: Sequence[int], loss: Loss) -> Loss:
        """Change what each of these training rows counts in the loss of a forward pass."""
        return loss

    def penalty(self, loop: LoopState) -> Tensor | None:
        """A term added to the loss once per update."""
        return None

    def retry(self, loop: LoopState) -> None:
        """Memory ran out in the passes of an update, which are done again in smaller parts: drop what they left."""

    def after_backward(self, loop: LoopState) -> None:
        """All gradients of an update are there, not yet clipped."""

    def after_step(self, loop: LoopState) -> None:
        """The weights have been updated."""

    def before_evaluation(self, loop: LoopState) -> None:
        """Validation is about to run: averaged weights may be put in place."""

    def after_evaluation(self, loop: LoopState) -> None:
        """Validation has run and, if it was the best, the weights have been kept."""

    def after_epoch(self, loop: LoopState) -> None:
        """Set `loop.stop_phase` or `loop.stop_run` to end early."""

    def proposals(self, loop: LoopState) -> Iterable[Proposal]:
        """Training is over: weights to be weighed against each other on validation.

        The best of them takes the place of the best epoch's; of equals, and without validation rows, the first.
        """
        return ()

    def judged(self, loop: LoopState, proposal: Proposal, figures: Mapping[str, float]) -> None:
        """A proposal is in place and has these figures on validation; {} without validation rows."""

    def chosen(self, loop: LoopState, proposal: Proposal) -> None:
        """This one of the proposals is kept."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from `state`."""
