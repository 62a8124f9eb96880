"""The arithmetic of a machine, chosen by what it supports and what a short measurement says."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import nn

WORTH = 1.5
"""bfloat16 has to be so many times faster on a layer's product before it is taken on a CPU."""

ROUNDS = 40


def choose_precision(device: torch.device) -> tuple[str, str]:
    """ "bf16" or "float32" for forward and backward passes, and why. Weights stay in float32 either way."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return "bf16", "this GPU computes in bfloat16; weights stay in float32"
        return "float32", "this GPU has no bfloat16 units"
    if device.type != "cpu":
        return "float32", f"exact, and safe on {device.type}"
    gain = bf16_gain()
    if gain >= WORTH:
        return "bf16", f"measured: this CPU multiplies {gain:.1f} times faster in bfloat16; weights stay in float32"
    return (
        "float32",
        f"measured: bfloat16 would be {gain:.1f} times as fast on this CPU, not enough to be worth its rounding",
    )


@cache
def bf16_gain() -> float:
    """How many times faster a transformer's larger product is in bfloat16, casts included (best of several)."""
    layer = nn.Linear(384, 1536)
    inputs = torch.randn(512, 384)

    def seconds(bf16: bool) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            layer(inputs)
        return time.perf_counter() - started

    # In alternation, and the best of many: other work on the machine must not decide.
    with torch.inference_mode():
        pairs = [(seconds(False), seconds(True)) for _ in range(ROUNDS)]
    return min(exact for exact, _ in pairs) / min(rounded for _, rounded in pairs)
