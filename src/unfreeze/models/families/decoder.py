"""Decoders of the Llama kind: rotary positions, blocks in `layers`, a last norm."""

from __future__ import annotations

from unfreeze.models.families._tiny import tiny_config
from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern

FAMILY = Family(
    name="decoder",
    modality="text",
    library="transformers",
    matches=("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "olmo2", "smollm3"),
    patterns=(
        GroupPattern("embeddings", r"backbone\.(embed_tokens|rotary_emb)\."),
        GroupPattern("block {}", r"backbone\.layers\.(\d+)\."),
        GroupPattern("norm", r"backbone\.norm\."),
        GroupPattern("head", r"head\."),
    ),
    rates=Rates(
        pretraining=3e-4,
        fine_tuning=2e-5,
        source="Touvron et al. 2023, Llama 2, arXiv:2307.09288, table 1: 3e-4 (7B and 13B); section 3.1: supervised "
        "fine-tuning 2e-5",
    ),
    tiny=tiny_config("llama", num_key_value_heads=1, pad_token_id=0, bos_token_id=2, eos_token_id=3),
    pooling="last",
)
