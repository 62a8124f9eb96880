"""BERT and what kept its shape, such as the MiniLM sentence encoders."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "bert",
        vocab_size=96,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


FAMILY = Family(
    name="bert",
    modality="text",
    library="transformers",
    matches=("bert",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.embeddings\."),
        GroupPattern("block {}", r"backbone\.encoder\.layer\.(\d+)\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.encoder.layer",
    rates=Rates(
        pretraining=1e-4,
        fine_tuning=1e-5,
        source="Devlin et al. 2018, appendix A.2 (Adam, 1e-4); their fine-tuning used 2e-5 to 5e-5, more than a tenth",
    ),
    tiny=tiny,
    pooling="mean",
    extras={
        "positions": ("embeddings.position_embeddings", 0),
        "rates": {
            "minilm": Rates(
                pretraining=5e-4,
                fine_tuning=5e-5,
                source="Wang et al. 2020, MiniLM, section 4.1: distilled with Adam at 5e-4; a tenth is taken here",
            )
        },
    },
)
