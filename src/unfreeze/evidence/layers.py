"""The layer groups of the model: their sizes, and at which rate each learned in each phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card
from unfreeze.train.loop import phase_rate


def collect(context: Context) -> dict[str, Any] | None:
    """Groups from the lowest to the head, and the phases as they were planned."""
    stack, phases, training = context.stack, context.job.phases, context.recipe.training
    head = stack.names[-1]
    groups = [
        {
            "name": name,
            "parameters": stack.size(stack.group(name)) if name in stack.names else None,
            "rates": [phase_rate(phase, name, head, training) if name in phase.learn else None for phase in phases],
        }
        for name in with_folded(stack.names, [name for phase in phases for name in phase.learn])
    ]
    said = [{"name": phase.name, "epochs": phase.epochs, "until": phase.until} for phase in phases]
    return {"groups": groups, "phases": said, "updates_per_epoch": context.job.steps_per_epoch}


def with_folded(names: Sequence[str], learned: Sequence[str]) -> list[str]:
    """The stack's names, and after the group that each acted within, groups that learned and were folded away since."""
    found = list(names)
    for name in dict.fromkeys(learned):
        if name not in found:
            within = [place for place, other in enumerate(found) if name.startswith(f"{other} ")]
            found.insert(max(within, default=-1) + 1, name)
    return found


EVIDENCE = Evidence(
    card=Card(
        what="the layer groups, their sizes and their highest learning rate in each phase",
        when="always",
        cost="none",
        evidence="what was planned, as the loop read it; the ledger proves that what was frozen did not move",
        source="the run's own stack and phases",
    ),
    collect=collect,
    order=10,
)
