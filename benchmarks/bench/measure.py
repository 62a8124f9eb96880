"""One command in a fresh process: its wall time, and the most memory that it and its children held."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 1.0
"""Seconds between looks at the memory."""


@dataclass(frozen=True)
class Measured:
    """What a process took.

    Parameters
    ----------
    seconds : float
        From its start to its end, imports included.
    own_peak : int
        Bytes of resident memory of the largest single process, as the kernel counted them (ru_maxrss).
    peak : int
        The most that the process and its children held together, in bytes: sampled, memory that several of them
        share counted once; at least `own_peak`.
    others : float or None
        Share of the machine's processor time that went to anything else meanwhile; None where it is not known.
    """

    returncode: int
    seconds: float
    own_peak: int
    peak: int
    timed_out: bool
    others: float | None


def measure(command: Sequence[str], *, env: Mapping[str, str], log: Path, timeout: float) -> Measured:
    """Run a command; its output goes to `log`. After `timeout` seconds it is killed with its children."""
    with log.open("wb") as output:
        started, before = time.perf_counter(), busy_seconds()
        child = subprocess.Popen(command, env=dict(env), stdout=output, stderr=output, start_new_session=True)
        watch = _Watch(child.pid, timeout)
        watch.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
        finally:
            watch.over.set()
        seconds, after = time.perf_counter() - started, busy_seconds()
    child.returncode = os.waitstatus_to_exitcode(status)
    watch.join()
    own = usage.ru_maxrss * 1024
    others = None
    if before is not None and after is not None:
        others = max(0.0, after - before - usage.ru_utime - usage.ru_stime) / seconds / (os.cpu_count() or 1)
    return Measured(child.returncode, seconds, own, max(own, watch.peak), watch.timed_out, others)


def busy_seconds() -> float | None:
    """Processor seconds that all cores have been busy since the machine started, or taken away by its host."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = (int(ticks) for ticks in first[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class _Watch(threading.Thread):
    """Looks at a process and its children until it is told that they are over."""

    def __init__(self, pid: int, timeout: float) -> None:
        super().__init__(daemon=True)
        self.pid, self.ends = pid, time.monotonic() + timeout
        self.over = threading.Event()
        self.peak, self.timed_out = 0, False

    def run(self) -> None:
        while not self.over.wait(EVERY):
            self.peak = max(self.peak, sum(held(pid) for pid in family(self.pid)))
            if time.monotonic() > self.ends and not self.timed_out:
                self.timed_out = True
                os.killpg(self.pid, signal.SIGKILL)


def family(pid: int) -> list[int]:
    """A process and all its descendants that are alive."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def held(pid: int) -> int:
    """Bytes of memory that a process holds; of what it shares with others, its share. 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
