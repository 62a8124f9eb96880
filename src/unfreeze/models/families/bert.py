"""BERT and what kept its shape, such as the MiniLM sentence encoders."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=1e-4,
        fine_tuning=1e-5,
        source="Devlin et al. 2018, arXiv:1810.04805, appendix A.2 (Adam, 1e-4); their fine-tuning (A.3) used 2e-5 to "
        "5e-5, more than a tenth",
    ),
    tiny=tiny_config("bert"),
    pooling="mean",
    extras={
        "positions": ("embeddings.position_embeddings", 0),
        "rates": {
            "multilingual-minilm": Rates(
                pretraining=3e-4,
                fine_tuning=3e-5,
                source="Wang et al. 2020, MiniLM, arXiv:2002.10957, section 4.1: the multilingual student was "
                "distilled with Adam at 3e-4; a tenth is taken here",
            ),
            "minilm": Rates(
                pretraining=5e-4,
                fine_tuning=5e-5,
                source="Wang et al. 2020, MiniLM, arXiv:2002.10957, section 4.1: distilled with Adam at 3e-4 to 6e-4, "
                "which varies with the student; a tenth of 5e-4 is taken here",
            ),
        },
    },
)
