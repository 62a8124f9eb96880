"""Out of memory: recognised, and answered with smaller parts of the same work.

Where the operating system promises more memory than there is (Linux does), it ends a process instead of refusing it
memory. `training.memory_budget` is for that; what stands here is for GPUs and for machines, containers and shells
that refuse.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from unfreeze.errors import OutOfMemory
from unfreeze.machine import free_memory, give_back
from unfreeze.stack.budget import in_words
from unfreeze.stack.groups import LayerStack

SAID = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED")
"""How torch's CPU allocator, the C++ library and some devices say it, in a plain RuntimeError."""

TO_READ = "a lower model.max_length or model.image_size, or a smaller model"
TO_LEARN = (
    "learning in fewer layers (--method last:2, or head), training.gradient_checkpointing=true, "
    f"an optimizer with less state (adafactor), {TO_READ}"
)
"""What helps when not even one row fits."""

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, torch's CPU allocator, numpy or Python had no more memory to give."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)


def halved(rows: int, error: Exception, help: str = TO_READ) -> int:
    """Half as many rows, if the error says that memory ran out; any other error is raised again.

    Raises
    ------
    OutOfMemory
        If there was only one row.
    """
    if not is_out_of_memory(error):
        raise error
    if rows <= 1:
        raise OutOfMemory(
            f"Memory ran out with one row at a time ({needed(error)}; {in_words(free_memory())} of this machine's "
            f"memory are free). What helps: {help}."
        ) from error
    return rows // 2


def needed(error: BaseException) -> str:
    """What could not be had, in the words of the one that was asked for it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition("] ")[2].rstrip(".")


def release() -> None:
    """Give back what nothing holds any more: to the system, or within a GPU to whatever is allocated next."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    give_back()


@dataclass
class Portions:
    """How many rows a pass takes at a time: all, until memory runs out; from then on half as many, and so on.

    Parameters
    ----------
    say : callable (str) -> None
        Told about each halving.
    """

    say: Callable[[str], None] = lambda _: None
    most: int | None = None

    def each(self, rows: Sequence[int], compute: Callable[[Sequence[int]], T]) -> Iterator[tuple[Sequence[int], T]]:
        """Some of the rows at a time, in their order, with what is computed of them.

        Raises
        ------
        OutOfMemory
            If not even one row fits.
        """
        done = 0
        while done < len(rows):
            part = rows[done : done + (self.most or len(rows))]
            try:
                computed = compute(part)
            except Exception as error:
                self.most = halved(len(part), error)
            else:
                yield part, computed
                done += len(part)
                continue
            # Only here, after the error and with it the frames that hold tensors are gone.
            release()
            self.say(f"memory ran out reading {len(part)} rows at a time: from here on {self.most}")


def moving(stack: LayerStack, learn: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
    """The buffers that a forward pass in training may move, such as BatchNorm's statistics, each with a copy."""
    return [(buffer, buffer.clone()) for name in learn for _, buffer in stack.buffers(stack.group(name))]


@torch.no_grad()
def forget_attempt(modules: Sequence[nn.Module], buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Undo what passes that failed have left: gradients and moved buffers."""
    for module in modules:
        for parameter in module.parameters():
            parameter.grad = None
    for buffer, before in buffers:
        buffer.copy_(before)
    release()
