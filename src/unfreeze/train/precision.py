"""The arithmetic of a machine, chosen by what it supports and what a short measurement says."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unfreeze.errors import UnfreezeError
from unfreeze.stack.shelf import cache_folder
from unfreeze.train.files import read_json, write_json

WORTH = 1.5
"""bfloat16 has to be so many times faster on a layer's product before it is taken on a CPU."""

ROUNDS = 40

KEPT = "machine.json"
"""What was measured on this machine."""


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
    """How many times faster a transformer's larger product is in bfloat16, casts included.

    Measured once per machine, build of torch and number of threads, and kept beside the features' cache.
    """
    place, key = cache_folder() / KEPT, f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    known = _read(place)
    if isinstance(known.get(key), float):
        return float(known[key])
    gain = _measured()
    with suppress(OSError, UnfreezeError):  # a cache that cannot be written costs a third of a second next time
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(place, {**known, key: gain})
    return gain


def _read(place: Path) -> dict[str, Any]:
    try:
        known = read_json(place)
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _processor() -> str:
    """The processor's name, where the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _measured() -> float:
    """The best of several, in alternation."""
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
