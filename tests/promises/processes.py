"""Real processes that are really killed. They are forked from a server that has every library loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Run a function of a module in these folders in a process of its own."""
    paths = [str(HERE), str(HERE.parent / "contract"), os.environ.get("PYTHONPATH", "")]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    try:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["warm"])
        process = context.Process(target=target, args=arguments)
        process.start()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return process


def finish(process: BaseProcess) -> int:
    """Wait for the end; the exit code, -9 for a killed one."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def kill_after(process: BaseProcess, seconds: float) -> int:
    """SIGKILL after so many seconds, unless the process has ended by itself."""
    process.join(seconds)
    process.kill()
    return finish(process)


def fit_killed_at_file_event(home: Path, output: Path, options: dict[str, Any], number: int, count_to: Path) -> None:
    """A text run whose process kills itself before its `number`th operation on a file of the run folder.

    With 0 nothing is killed, and the number of operations is written to `count_to`.
    """
    from small import fit_text

    count = [0]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in FILE_EVENTS or not arguments or not isinstance(arguments[0], (str, bytes, Path)):
            return
        if not os.fsdecode(arguments[0]).startswith(str(output)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    fit_text(home, output, **options)
    if not number:
        count_to.write_text(str(count[0]))


def fit_then_leave(home: Path, output: Path, options: dict[str, Any]) -> None:
    """A text run, begun or, where there is one already, continued."""
    from small import fit_text, resume

    if (output / "status.json").exists():
        resume(output)
    else:
        fit_text(home, output, **{**options, "overwrite": True})


def seconds_of(run: Callable[[], Any]) -> float:
    """How long something takes, to draw moments within it."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
