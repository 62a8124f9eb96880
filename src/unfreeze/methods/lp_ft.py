"""Linear probe, then fine-tuning: the head is right before the features start to move."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """The head alone for half of the epochs, then all groups from the head's solution, all at the low rate.

    The second phase states a factor for the head, so that it moves at the backbone's rate instead of its own.
    """
    names, head = context.stack.names, context.stack.head
    return [
        Phase(name="probe", learn=(head,), epochs=context.epochs / 2),
        Phase(name="all", learn=names, epochs=context.epochs / 2, scales={head: 1.0}),
    ]


METHOD = Method(
    card=Card(
        what="The head learns on frozen features first; then all layers learn at a low rate, starting from it.",
        when="Full fine-tuning would do, and the model will also see data unlike the training rows.",
        cost="Below full: the probe replays the frozen part.",
        evidence="In the source, on ten data sets: 10 % better than full out of distribution, 1 % better within.",
        source="Kumar et al. 2022, arXiv:2202.10054",
    ),
    phases=phases,
)
