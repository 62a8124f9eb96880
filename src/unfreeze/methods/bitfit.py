"""BitFit: of the pre-trained layers only the biases learn."""

from __future__ import annotations

from unfreeze.methods._method import Method, added_and_head, nothing_to_fold
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

METHOD = Method(
    card=Card(
        what="Only the biases of the pre-trained layers learn, and the new head.",
        when="Few rows, and a model whose layers have biases; a very small file for each task.",
        cost="Memory of the head's training plus activations: gradients flow through all layers down to the lowest.",
        evidence="In the source within a point of full fine-tuning for BERT on most GLUE tasks, with 0.1 % of the "
        "parameters; behind it where there are many rows.",
        source="Ben Zaken et al. 2022, arXiv:2106.10199",
    ),
    phases=added_and_head,
    additions=(Addition("biases", r"\.bias$"),),
    rate=10.0,
    rate_reason="biases are few and each has to move further",
    merge=nothing_to_fold,
)
