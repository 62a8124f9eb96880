"""Python's collector of cycles: it need not walk the objects of whole libraries while they load, nor at the end."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Nothing is collected inside: loading makes a million objects and hardly a cycle.

    It is a sixth of the time in which transformers is imported.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def leave_at_exit() -> None:
    """Let a process of ours end without walking once more what lives until its end.

    With torch and transformers loaded, the interpreter's last collections take more than a second.
    """
    atexit.register(gc.freeze)
