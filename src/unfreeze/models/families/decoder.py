"""Decoders of the Llama kind: rotary positions, blocks in `layers`, a last norm."""

from __future__ import annotations

from typing import Any

from unfreeze.models.pretrained import Family, Rates
from unfreeze.stack.groups import GroupPattern


def tiny() -> Any:
    """A configuration of three blocks for tests."""
    from transformers import AutoConfig

    return AutoConfig.for_model(
        "llama",
        vocab_size=96,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        num_key_value_heads=1,
        max_position_embeddings=64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
    )


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
    blocks="backbone.layers",
    rates=Rates(
        pretraining=3e-4,
        fine_tuning=2e-5,
        source="Touvron et al. 2023, Llama 2, sections 2.2 and 3.1: 3e-4 (7B); supervised fine-tuning 2e-5",
    ),
    tiny=tiny,
    pooling="last",
)
