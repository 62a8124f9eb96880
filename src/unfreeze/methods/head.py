"""Transfer learning: the pre-trained layers stay as they are, and only the new head learns."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """One phase, in which the head learns on frozen features."""
    return [Phase(name="head", learn=(context.stack.head,), epochs=context.epochs)]


METHOD = Method(
    card=Card(
        what="Only the new head learns, on frozen features (transfer learning, linear probe).",
        when="Little data, and a task close to what the model was pre-trained on; always worth having as a baseline.",
        cost="The lowest: the frozen part is computed once per sample. Features that the task lacks are never learned.",
        evidence="Strong for similar tasks; with enough data full fine-tuning usually passes it in distribution.",
        source="Donahue et al. 2014, DeCAF, arXiv:1310.1531; Kornblith et al. 2019, arXiv:1805.08974",
    ),
    phases=phases,
)
