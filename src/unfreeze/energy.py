"""What a piece of work took: time, processor time, and energy where the machine lets it be read. Imports no torch."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Reads counters when it is made, and again at `read`."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._processor = _processor_seconds()
        self._packages = _packages()
        self._gpus = _gpus()

    def read(self) -> dict[str, Any]:
        """Since the meter was made.

        Returns
        -------
        dict
            `seconds`; `processor_seconds`, of this process and those that it has waited for; `joules` of whole
            processor packages and GPUs, whatever else ran on them, or None where neither can be read; `read_from`.
        """
        joules = [*_grown(self._packages, _packages()), *_grown(self._gpus, _gpus())]
        sources = ["the processor's own counter"] * bool(self._packages) + ["the GPU's own counter"] * bool(self._gpus)
        return {
            "seconds": time.perf_counter() - self._began,
            "processor_seconds": _processor_seconds() - self._processor,
            "joules": sum(joules) if joules else None,
            "read_from": " and ".join(sources),
        }


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _packages() -> dict[str, tuple[float, float]]:
    """Joules so far of each processor package, and the value at which its counter starts again (Intel RAPL, powercap).

    Only the administrator may read them on most systems.
    """
    found: dict[str, tuple[float, float]] = {}
    with suppress(OSError, ValueError):
        for zone in sorted(POWERCAP.glob("*-rapl:*")):
            if zone.name.count(":") == 1:  # a whole package, not a part of one
                used, most = (int((zone / file).read_text()) for file in ("energy_uj", "max_energy_range_uj"))
                found[zone.name] = (used / 1e6, most / 1e6)
    return found


def _gpus() -> dict[str, tuple[float, float]]:
    """Joules so far of each NVIDIA GPU, where nvidia-ml-py is there."""
    found: dict[str, tuple[float, float]] = {}
    try:
        import pynvml
    except ImportError:
        return found
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            found[str(index)] = (pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, 0.0)
    return found


def _grown(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> list[float]:
    """What each counter has grown by; one that started again in between is read on from its highest value."""
    return [
        after[name][0] - was + (most if after[name][0] < was else 0.0)
        for name, (was, most) in before.items()
        if name in after
    ]
