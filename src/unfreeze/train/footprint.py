"""What the tensors of a pass take, operation by operation, and what they would take with more rows.

Every operation of a pass is seen as torch dispatches it, so that nothing has to be known of an architecture: tensors
that autograd saves, those that live for a moment only, and what gradient checkpointing makes again all count while they
are there. Two passes of few rows give a line for each operation; at its highest point the lines are exact for any
number of rows, since the same operations run.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

FEW, MORE = 2, 4
"""Rows of the two passes. One alone would not do where BatchNorm has nothing but rows to average over."""

MATRIX_KERNEL, IMAGE_KERNEL = 600_000, 60_000
"""Bytes that oneDNN keeps for each product in bfloat16, and for each convolution, of each shape that it meets.
Measured on a CPU with avx512_bf16: 0.58 MB, and 0.03 to 0.13 MB."""

MOST_KERNELS = 1024
"""oneDNN forgets the oldest beyond so many."""

_PRODUCTS = {"aten.addmm", "aten.mm", "aten.bmm", "aten.baddbmm", "aten.linear"}
_CONVOLUTIONS = {"aten.convolution": 1, "aten.convolution_backward": 2}


class Live(TorchDispatchMode):
    """While it is entered: bytes of all tensors that were made since, after each operation.

    Parameters
    ----------
    known : iterable of Tensor
        What is there already and does not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.bytes = 0
        self.course: list[int] = []
        self.kernels: dict[Any, int] = {}
        self.unseen = 0
        self._known = list(known)
        self._seen: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in self._known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and look at what it was given and what it made."""
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # What an operation is given was made elsewhere, such as masks by numpy, or is known.
        for tensor in given:
            self._see(tensor)
        found = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        self.course.append(self.bytes)
        self._note_kernel(str(func.overloadpacket), given)
        return found

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            self._seen.pop(key, None)
            self.bytes -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.bytes += size

    def _note_kernel(self, name: str, given: list[Tensor]) -> None:
        if not given or given[0].device.type != "cpu":
            return
        shapes = (name, *(tuple(tensor.shape) for tensor in given))
        if name in _PRODUCTS and given[0].dtype == torch.bfloat16:
            self.kernels[shapes] = MATRIX_KERNEL
        elif name in _CONVOLUTIONS:
            self.kernels[shapes] = IMAGE_KERNEL * _CONVOLUTIONS[name]


@dataclass(frozen=True)
class Footprint:
    """The bytes of a pass after each of its operations: start + rows · slope.

    Parameters
    ----------
    start, slope : array of shape (operations,)
    unseen : int
        Bytes that a GPU's library took beside the tensors.
    kernels, kernel_bytes : int
        How many kernels one shape of batch needs, and what these take together.
    """

    start: NDArray[np.float64]
    slope: NDArray[np.float64]
    unseen: int = 0
    kernels: int = 0
    kernel_bytes: int = 0

    def peak(self, rows: int) -> int:
        """The most bytes at any moment, with so many rows."""
        return self.unseen + int(max(0.0, (self.start + rows * self.slope).max(initial=0.0)))

    def kept_kernels(self, shapes: int) -> int:
        """Bytes of the kernels for so many shapes of batches."""
        return self.kernel_bytes * min(shapes, MOST_KERNELS // max(1, self.kernels))


def footprint_of(prepare: Callable[[int], Callable[[], object]], known: Callable[[], Iterable[Tensor]]) -> Footprint:
    """The footprint of a pass.

    Parameters
    ----------
    prepare : callable (rows) -> callable
        Gets ready for a pass with so many rows, which then runs when it is called.
    known : callable () -> iterable of Tensor
        What is there before the pass and stays.
    """
    few, more = (_watched(prepare(rows), known()) for rows in (FEW, MORE))
    one, other = (np.array(live.course, np.float64) for live in (few, more))
    if len(one) != len(other):  # the model works otherwise on more rows: at least the peaks are right
        one, other = (np.array([course.max(initial=0.0)]) for course in (one, other))
    slope = (other - one) / (MORE - FEW)
    return Footprint(one - FEW * slope, slope, more.unseen, len(few.kernels), sum(few.kernels.values()))


def _watched(run: Callable[[], object], known: Iterable[Tensor]) -> Live:
    live, on_gpu = Live(known), torch.cuda.is_initialized()
    before = _allocated_by_gpu(reset=True) if on_gpu else 0
    with live:
        run()
    if on_gpu:
        live.unseen = max(0, _allocated_by_gpu() - before - max(live.course, default=0))
    return live


def _allocated_by_gpu(reset: bool = False) -> int:
    """The most bytes that were allocated there since the last reset."""
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.max_memory_allocated())


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """What tensors take, those that share memory counted once."""
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())
