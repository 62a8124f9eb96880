"""A random start: what the same architecture learns from these data alone."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """One phase, in which all groups learn at one rate, since none of them knows anything yet."""
    return [Phase(name="scratch", learn=context.stack.names, epochs=context.epochs, scales={context.stack.head: 1.0})]


METHOD = Method(
    card=Card(
        what="The same architecture with random weights, trained on these data only.",
        when="As the honest baseline, or with very many rows from a world that the model never saw.",
        cost="That of full per epoch, and many more epochs and rows are needed.",
        evidence="Behind pre-trained weights with few rows; catches up with enough rows and time.",
        source="He et al. 2019, Rethinking ImageNet Pre-training, arXiv:1811.08883",
    ),
    phases=phases,
    random_weights=True,
)
