"""Tiny configurations of transformers architectures, for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

SIZES = {
    "vocab_size": 96,
    "max_position_embeddings": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def tiny_config(model_type: str, **particular: Any) -> Callable[[], Any]:
    """What makes a configuration of three blocks, given what is particular to a transformers model type.

    None leaves out a size that the architecture has under another name or not at all.
    """
    options = {key: value for key, value in {**SIZES, **particular}.items() if value is not None}
    return partial(_make, model_type, options)


def _make(model_type: str, options: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **options)
