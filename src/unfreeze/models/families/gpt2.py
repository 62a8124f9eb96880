"""GPT-2."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "gpt2", vocab_size=96, n_embd=32, n_layer=3, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1
    )


FAMILY = Family(
    name="gpt2",
    modality="text",
    library="transformers",
    matches=("gpt2",),
    patterns=(
        GroupPattern("embeddings", r"backbone\.w[tp]e\."),
        GroupPattern("block {}", r"backbone\.h\.(\d+)\."),
        GroupPattern("norm", r"backbone\.ln_f\."),
        GroupPattern("head", r"head\."),
    ),
    blocks="backbone.h",
    rates=Rates(
        pretraining=2.5e-4,
        fine_tuning=2.5e-5,
        source="Radford et al. 2018, GPT, section 4.1 (Adam, 2.5e-4); the rate of GPT-2 itself was not published",
    ),
    tiny=tiny,
    pooling="last",
    extras={"positions": ("wpe", 0)},
)
