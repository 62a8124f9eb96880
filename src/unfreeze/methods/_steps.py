"""How many groups a method thaws at a time, when there is not time enough to thaw them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from unfreeze.methods._method import MethodContext
from unfreeze.methods._parse import count


def steps_of(context: MethodContext, name: str, epochs_each: float) -> int:
    """The number of steps from the head alone to all groups: the argument, or as many as get `epochs_each`.

    At least two where the stack has two groups, at most one per group.
    """
    groups = len(context.stack.names)
    if context.argument is not None:
        return count(context, name, most=groups)
    return min(groups, max(2, int(context.epochs / epochs_each)))


def from_the_top(names: Sequence[str], steps: int) -> list[tuple[str, ...]]:
    """What learns in each step: the head alone first, everything last, evenly more in between.

    With one step, everything at once.
    """
    lower = len(names) - 1
    thawed = [round(step * lower / (steps - 1)) for step in range(steps)] if steps > 1 else [lower]
    return [tuple(names[lower - more :]) for more in thawed]


def in_chunks(names: Sequence[str], chunks: int) -> list[tuple[str, ...]]:
    """Neighbouring names together, in order, in so many parts of nearly equal size."""
    edges = [round(index * len(names) / chunks) for index in range(chunks + 1)]
    return [tuple(names[start:end]) for start, end in pairwise(edges) if end > start]
