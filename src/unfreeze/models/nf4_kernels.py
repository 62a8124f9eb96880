"""4-bit weights made whole by bitsandbytes, on a GPU or a CPU, where that is installed: the same numbers, faster.

The codes and scales are ours, and equal to bitsandbytes' own (nf4, blocks of 64, no second quantisation), so a model
that was tuned with it loads and predicts the same where it is missing.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

Decode = Callable[[Tensor, Tensor, torch.dtype], Tensor]
"""From codes of shape (blocks, 32) and scales of shape (blocks, 1) to weights of shape (blocks, 64) and that type."""

DEVICES = ("cuda", "cpu")


@lru_cache(maxsize=8)
def kernel(device: str) -> Decode | None:
    """What makes weights whole on this type of device; None where bitsandbytes is missing or has nothing for it."""
    if device not in DEVICES or not load_bitsandbytes():
        return None
    try:
        _decode(torch.zeros(1, 32, dtype=torch.int8, device=device), torch.ones(1, 1, device=device), torch.float32)
    except (OSError, RuntimeError, AttributeError, ValueError):
        return None  # another version, or a build for other hardware
    return _decode


def load_bitsandbytes() -> bool:
    """Import bitsandbytes, whose operators are found by name, without code from a hub; False where it cannot be.

    peft imports it too, where it is installed, and may do so after this only.
    """
    if find_spec("bitsandbytes") is None:
        return False
    try:
        with _nothing_from_a_hub():
            import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False
    return True


def _decode(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    packed, size = codes.view(torch.uint8).reshape(-1, 1), (len(codes), 64)
    found: Tensor = torch.ops.bitsandbytes.dequantize_4bit.default(packed, scales.flatten(), 64, "nf4", size, dtype)
    return found


@contextmanager
def _nothing_from_a_hub() -> Iterator[None]:
    """Importing bitsandbytes would download and run kernels from a model hub, where `kernels` is installed."""
    if "bitsandbytes" in sys.modules:
        yield
        return
    hidden = sys.modules.get("kernels")
    log = logging.getLogger("bitsandbytes")
    level, log.level = log.level, logging.ERROR  # it complains that they are missing
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        log.level = level
        del sys.modules["kernels"]
        if hidden is not None:
            sys.modules["kernels"] = hidden
