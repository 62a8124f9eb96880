"""The machine and what is installed: `python -m bench.machine` prints it as JSON, with measured matrix rates."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "neon", "asimd", "bf16")
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "accelerate",
    "timm",
    "sentence-transformers",
    "setfit",
    "fastai",
    "peft",
    "scikit-learn",
    "numpy",
    "pillow",
)
SIDE, ROUNDS = 2048, 20
BF16_WORTH = 1.5
"""A peer's best settings use bfloat16 where it multiplies so many times faster than float32."""


def describe() -> dict[str, Any]:
    """Processor, memory, GPU, versions and rates."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    made: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "flags": cpu_flags(),
        "gpu": gpu,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := version_of(name))},
        "rates": {"cpu": rates("cpu"), **({"cuda": rates("cuda")} if gpu else {})},
    }
    return {"name": machine_name(made), **made}


def cpu_model() -> str:
    """What the processor calls itself, with family and model numbers where its name alone says little."""
    info = Path("/proc/cpuinfo")
    found = _cpuinfo(info.read_text()) if info.exists() else {}
    name = found.get("model name") or platform.processor() or platform.machine()
    numbers = [found[key] for key in ("cpu family", "model") if key in found]
    return f"{name} (family {numbers[0]}, model {numbers[1]})" if len(numbers) == 2 else name


def cpu_flags() -> list[str]:
    """The vector and matrix extensions that matter here."""
    info = Path("/proc/cpuinfo")
    found = _cpuinfo(info.read_text()) if info.exists() else {}
    there = set((found.get("flags") or found.get("Features") or "").split())
    return [flag for flag in FLAGS if flag in there]


def _cpuinfo(text: str) -> dict[str, str]:
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def version_of(package: str) -> str | None:
    """Of an installed distribution."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def machine_name(made: dict[str, Any]) -> str:
    """A file name: "amd-epyc-2-cores"."""
    cpu = re.sub(r"\(.*?\)|CPU|Processor|@.*", " ", made["cpu"])
    words = f"{cpu} {made['cores']} cores {made['gpu'] or ''}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def rates(device: str) -> dict[str, float]:
    """Floating-point operations per second of a large matrix product, best of several, in float32 and bfloat16."""
    import torch

    found = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        one, two = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
        found[name] = 2 * SIDE**3 / min(_seconds(one, two, device) for _ in range(ROUNDS))
    return found


def _seconds(one: Any, two: Any, device: str) -> float:
    import torch

    started = time.perf_counter()
    one @ two
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def best_rate(machine: dict[str, Any]) -> float:
    """The highest measured rate."""
    return max(float(rate) for of_device in machine["rates"].values() for rate in of_device.values())


def gains_from_bf16(machine: dict[str, Any]) -> bool:
    """Whether the device that training uses multiplies much faster in bfloat16."""
    found = machine["rates"].get("cuda") or machine["rates"]["cpu"]
    return bool(found["bf16"] >= BF16_WORTH * found["float32"])


if __name__ == "__main__":
    print(json.dumps(describe()))
