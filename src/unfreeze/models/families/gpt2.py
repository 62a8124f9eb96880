"""GPT-2."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

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
    rates=Rates(
        pretraining=2.5e-4,
        fine_tuning=2.5e-5,
        source="Radford et al. 2018, GPT, section 4.1 (Adam, 2.5e-4); the rate of GPT-2 itself was not published",
    ),
    tiny=tiny_config("gpt2", intermediate_size=None, bos_token_id=1, eos_token_id=1),
    pooling="last",
    extras={"positions": ("wpe", 0)},
)
