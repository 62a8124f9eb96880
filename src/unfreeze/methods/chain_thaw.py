"""Chain-thaw: the new head, then each layer alone from the first, then all together."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.methods._steps import in_chunks
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """The head, then each group alone from the lowest up, then all; each until validation stops gaining.

    No phase takes more than its equal share of the epochs; neighbouring groups go together where they outnumber them.
    """
    *lower, head = context.stack.names
    chunks = in_chunks(lower, max(1, min(len(lower), int(context.epochs) - 2))) if lower else []
    stages = [("head", (head,)), *((_name(chunk), chunk) for chunk in chunks), ("all", context.stack.names)]
    share = context.epochs / len(stages)
    return [Phase(name=name, learn=learn, epochs=share, until="plateau") for name, learn in stages]


def _name(chunk: tuple[str, ...]) -> str:
    return chunk[0] if len(chunk) == 1 else f"{chunk[0]} to {chunk[-1]}"


METHOD = Method(
    card=Card(
        what="The new head learns first, then each layer alone from the lowest up, at last all together.",
        when="Few rows and a shallow model, with time for many phases.",
        cost="High: from the second phase on the lowest layers learn, so that little can be replayed.",
        evidence="Preferred to three other schemes by its source, for a two-layer LSTM pre-trained on emoji.",
        source="Felbo et al. 2017, DeepMoji, arXiv:1708.00524",
    ),
    phases=phases,
)
