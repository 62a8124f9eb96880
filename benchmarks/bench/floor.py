"""How far unfreeze is from the arithmetic's floor: `python -m bench.floor SPEC OUT` counts the operations of its plan.

Operations of the matrix products and convolutions of a forward pass, counted by torch on single rows, without padding,
spread over the training rows by length. What is frozen counts once per row; what learns three times in every epoch,
since a backward pass takes twice a forward pass (torch's own count of it is too high for grouped convolutions), and
what is frozen above something that learns twice, since gradients pass through it. Divided by the measured rate of a
large matrix product, that is the time below which this plan cannot be carried out; validation and everything else come
on top.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import unfreeze
from bench.data import splits_of
from bench.sides.ours import fit_options
from bench.work import Work
from bench.worker import job_of
from unfreeze.stack.frontier import frontier

ROWS = 40
"""Rows that are counted."""

HEADS = 32
"""That unfreeze.sweep trains by default."""


def count(spec: dict[str, Any]) -> dict[str, Any]:
    """Operations of a job's plan: `flops` in all, of which `frozen` once."""
    job = job_of(spec)
    place = Path(spec["place"]) if spec["place"] else Path()
    made = unfreeze.plan(**fit_options(Work(job, splits_of(job), 0, False, place, Path(spec["folder"]))))
    feed = made.feeds["train"]
    order = sorted(range(len(feed)), key=lambda row: feed.lengths[row])
    some = sorted({order[number * len(feed) // ROWS] for number in range(ROWS)})
    by_group = [group_operations(made.pretrained.module, made.stack, feed.batch([row])) for row in some]
    once = {name: sum(counts[name] for counts in by_group) * len(feed) / len(some) for name in made.stack.names}
    lowest = [frontier(made.stack.names, phase.learn) for phase in made.phases]
    # Features of a lower frontier are met on the way to those of a higher one, so the highest is all there is.
    frozen = max(sum(once[name] for name in made.stack.names[:low]) for low in lowest)
    heads = HEADS if job.method == "sweep" else 1
    learning = sum(
        (3 if name in phase.learn else 2) * heads * phase.epochs * once[name]
        for phase, low in zip(made.phases, lowest, strict=True)
        for name in made.stack.names[low:]
    )
    return {"flops": frozen + learning, "frozen": frozen}


@torch.no_grad()
def group_operations(module: torch.nn.Module, stack: Any, batch: Any) -> dict[str, int]:
    """Of a forward pass, by layer group."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**batch)
    by_module, root = counter.get_flop_counts(), type(module).__name__

    def within(modules: Iterable[tuple[str, Any]]) -> int:
        return sum(sum(by_module.get(f"{root}.{name}", {}).values()) for name, _ in modules)

    added: dict[str, int] = {}
    for group in stack.groups:
        if group.beside:
            added[group.beside] = added.get(group.beside, 0) + within(stack.modules(group))
    # Around what was added to it, a group is everything within its modules but that.
    whole = {g.name: within(stack.surroundings(g) if g.name in added else stack.modules(g)) for g in stack.groups}
    return {name: count - added.get(name, 0) for name, count in whole.items()}


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(count(json.loads(Path(sys.argv[1]).read_text()))))
