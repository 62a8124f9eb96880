"""The topmost k layer groups learn; everything below them stays frozen."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.methods._parse import count
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """One phase, in which the last k groups learn."""
    k = count(context, "last", most=len(context.stack.names))
    return [Phase(name=f"last {k}", learn=context.stack.last(k), epochs=context.epochs)]


METHOD = Method(
    card=Card(
        what="The topmost k layer groups learn; k counts the new head, so that last:1 is the same as head.",
        when="A few hundred to a few thousand rows, and a task somewhat unlike the model's own.",
        cost="Low: the frozen part is computed once per sample. k has to be chosen.",
        evidence="Lower layers are general and upper ones specific; the best k depends on data and task.",
        source="Yosinski et al. 2014, arXiv:1411.1792; Lee et al. 2019, arXiv:1911.03090",
    ),
    phases=phases,
    argument="k",
)
