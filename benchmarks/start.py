"""What passes from the command to the first update: seconds until each stage is over, medians of several processes.

    python benchmarks/start.py [--into docs/speed.md]

Docstrings of the standard library and the embedded sentence encoder, all layers and the head alone; 800 rows. Frozen
features are computed before the head's first update, which is why it comes later. To be run on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from pages import say, table

from unfreeze.demo.stdlib_docstrings import write_csv

RUNS = 5
"""And one before, in which the machine's arithmetic is measured."""

METHODS = ("full", "head")


def main() -> None:
    """Print a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- start --> and <!-- /start -->")
    parser.add_argument("--begun", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.method:
        begin(asked.data, asked.method, asked.begun)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "texts.csv"
        write_csv(data)
        for method in METHODS:
            runs = [_run(data, method, Path(folder) / "cache") for _ in range(RUNS + 1)][1:]
            times = [f"{statistics.median(run[stage] for run in runs):.1f}" for stage in ("imports", "data", "model")]
            last = sorted(run["step"] for run in runs)
            lines.append([method, *times, f"{statistics.median(last):.1f} ({last[0]:.1f}–{last[-1]:.1f})"])
    columns = ("method", "imports are done", "the data is checked", "the model is there", "the first update is done")
    say(table(columns, lines, words=1), "start", asked.into)


def _run(data: Path, method: str, cache: Path) -> dict[str, float]:
    """What is known of the machine stays in the cache, features do not."""
    for folder in cache.glob("*/"):
        shutil.rmtree(folder)
    command = [sys.executable, __file__, "--method", method, "--data", str(data), "--begun", str(time.time())]
    environment = {**os.environ, "UNFREEZE_CACHE": str(cache)}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def begin(data: str, method: str, begun: float) -> NoReturn:
    """Fit until the first update, print when each stage was over, and end."""
    import unfreeze
    from unfreeze.progress import Silent

    seen: dict[str, float] = {}

    class Watch(Silent):
        """Notes when each stage begins."""

        def stage(self, message: str) -> None:
            name = {"reading": "imports", "loading": "data"}.get(message.split()[0])
            if name:
                seen.setdefault(name, time.time() - begun)

        def start(self, plan: Any) -> None:
            seen["model"] = time.time() - begun

        def step(self, step: int, loss: float, lr: float) -> None:
            print(json.dumps(seen | {"step": time.time() - begun}), flush=True)
            raise SystemExit

    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"target": "label", "group": "module", "max_rows": 800}
        unfreeze.fit(data, method=method, epochs=2, output=f"{folder}/run", progress=Watch(), **options)
    raise SystemExit("there was no update")


if __name__ == "__main__":
    main()
