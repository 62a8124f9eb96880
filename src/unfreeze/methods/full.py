"""Every layer group learns from the start."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """One phase, in which all groups learn."""
    return [Phase(name="all", learn=context.stack.names, epochs=context.epochs)]


METHOD = Method(
    card=Card(
        what="All layers learn together, the pre-trained ones at a low rate.",
        when="Some thousand rows or more, or a task unlike the model's own.",
        cost="The highest per epoch: nothing can be replayed, and the optimizer holds state for every weight.",
        evidence="The standard for best accuracy in distribution; can distort features when rows are few.",
        source="Devlin et al. 2019, arXiv:1810.04805; for the limits Kumar et al. 2022, arXiv:2202.10054",
    ),
    phases=phases,
)
