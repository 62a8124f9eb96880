"""Everything learns but the lowest k layer groups."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.methods._parse import count
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """One phase, in which all groups but the first k learn."""
    names = context.stack.names
    k = count(context, "all-but-first", most=len(names) - 1)
    return [Phase(name=f"all but first {k}", learn=names[k:], epochs=context.epochs)]


METHOD = Method(
    card=Card(
        what="All layers learn but the lowest k groups, such as a text model's embeddings or an image model's stem.",
        when="Thousands of rows, where full fine-tuning is wanted at less memory and with general features kept.",
        cost="A little below full; freezing the embeddings alone saves their optimizer state, often the largest part.",
        evidence="BERT's last quarter alone reaches 90 % of full's quality on most tasks; what is gained is cost.",
        source="Lee et al. 2019, arXiv:1911.03090; Yosinski et al. 2014, arXiv:1411.1792",
    ),
    phases=phases,
    argument="k",
)
