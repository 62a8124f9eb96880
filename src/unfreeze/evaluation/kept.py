"""Outputs and head inputs of each row, kept while a split is scored, so that nothing is computed twice for evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze.models.head import Head


@dataclass
class Kept:
    """What the model gave for each row of a split, in the split's order, float32 on the CPU.

    `outputs` has the shape (rows, outputs), `features` what entered the head: (rows, width).
    """

    outputs: Tensor
    features: Tensor


@dataclass
class _Rows:
    """A tensor that is filled row by row, made when the first batch tells its width."""

    count: int
    tensor: Tensor | None = None

    def put(self, rows: Sequence[int], values: Tensor) -> None:
        if self.tensor is None:
            self.tensor = torch.zeros(self.count, *values.shape[1:])
        self.tensor[torch.tensor(rows)] = values


@contextmanager
def keeping(module: nn.Module, rows: int) -> Iterator[Keeper]:
    """While this lasts, what enters the module's head is noted."""
    keeper = Keeper(_Rows(rows), _Rows(rows))
    head = next(child for child in module.modules() if isinstance(child, Head))
    hook = head.register_forward_hook(keeper.note)
    try:
        yield keeper
    finally:
        hook.remove()


@dataclass
class Keeper:
    """Gathers batches; its `keep` is what `unfreeze.train.scoring.score` calls with each."""

    _outputs: _Rows
    _features: _Rows
    _latest: Tensor | None = None

    def note(self, _: nn.Module, args: tuple[Any, ...], __: Tensor) -> None:
        """What entered the head: seen behind it, since replay puts it in place only just before."""
        self._latest = args[0].detach().float().cpu()

    def keep(self, rows: Sequence[int], outputs: Tensor) -> None:
        """The outputs of some rows, whose head inputs were noted just before."""
        assert self._latest is not None, "a model's outputs come from its head"
        self._outputs.put(rows, outputs)
        self._features.put(rows, self._latest)

    def kept(self) -> Kept:
        """Everything, once all rows were seen."""
        assert self._outputs.tensor is not None, "no row was seen"
        assert self._features.tensor is not None, "no row was seen"
        return Kept(self._outputs.tensor, self._features.tensor)
