"""What a piece of work took: time, processor time, and energy where the machine lets it be read. Imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Reads counters when it is made, and again at `read`.

    Parameters
    ----------
    earlier : mapping, optional
        What `read` said at the end of an earlier session of the same work: it is counted too.
    """

    def __init__(self, earlier: Mapping[str, Any] | None = None) -> None:
        self._earlier = earlier
        self._began = time.perf_counter()
        self._processor = _processor_seconds()
        self._packages = _packages()
        self._gpus = _gpus()
        self._learned = 0.0
        self._learning_since: float | None = None

    @property
    def seconds(self) -> float:
        """So far, with earlier sessions."""
        return time.perf_counter() - self._began + (self._earlier["seconds"] if self._earlier else 0.0)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """What happens while this lasts is learning, and its seconds are told by themselves too."""
        self._learning_since = time.perf_counter()
        try:
            yield
        finally:
            self._learned = self._learning_seconds()
            self._learning_since = None

    def read(self) -> dict[str, Any]:
        """Since the meter was made, with earlier sessions.

        Returns
        -------
        dict
            `seconds`; `learning_seconds`, a part of them; `processor_seconds`, of this process and those that it has
            waited for; `joules` of "processor" (whole packages) and "gpu" (all there are), whatever else ran on them,
            each None where it could not be read in every session.
        """
        now = {
            "seconds": time.perf_counter() - self._began,
            "learning_seconds": self._learning_seconds(),
            "processor_seconds": _processor_seconds() - self._processor,
            "joules": {
                "processor": _grown(self._packages, _packages()),
                "gpu": _grown(self._gpus, _gpus()),
            },
        }
        return now if self._earlier is None else _added(self._earlier, now)

    def _learning_seconds(self) -> float:
        running = 0.0 if self._learning_since is None else time.perf_counter() - self._learning_since
        return self._learned + running


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two readings together; what was not read in one of them is not known of both."""
    found: dict[str, Any] = {}
    for name, value in other.items():
        before = one[name]
        if isinstance(value, dict):
            found[name] = _added(before, value)
        else:
            found[name] = None if value is None or before is None else before + value
    return found


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


def _grown(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float | None:
    """What the counters have grown by together; one that started again in between is read on from its highest value.

    None where there is none, or one of them is gone.
    """
    if not before or not before.keys() <= after.keys():
        return None
    return sum(after[name][0] - was + (most if after[name][0] < was else 0.0) for name, (was, most) in before.items())
