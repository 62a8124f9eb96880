"""What preparing a table takes as its rows grow: seconds, and memory above the imports.

    python benchmarks/rows.py                     # 10,000, 100,000 and 1,000,000 rows, as a table of Markdown
    python benchmarks/rows.py --rows 300000
    python benchmarks/rows.py --into docs/speed.md   # between the marks of that page

Each table is a CSV of distinct rows of twelve words and one of four labels, prepared in a process of its own. Memory of
the process itself is what nobody else can have (RssAnon, read every few milliseconds); the peak in all has the mapped
pages of temporary files too, which the system takes back when it needs them (VmHWM). Both are told by Linux only.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pages import say, table

ROWS = (10_000, 100_000, 1_000_000)
WORDS, VOCABULARY, LABELS = 12, 20_000, 4
COLUMNS = ("rows", "seconds", "memory of its own (MiB)", "bytes a row", "peak with mapped pages (MiB)")
EVERY = 0.005
"""Seconds between two looks at the memory."""


def main() -> None:
    """Print a line for each number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- rows --> and <!-- /rows -->")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.prepare:
        print(json.dumps(measured(Path(asked.prepare))))
        return
    lines = []
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            write_table(path, rows)
            command = [sys.executable, __file__, "--prepare", str(path)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        own, peak = found["own"] / 2**20, found["peak"] / 2**20
        each = found["own"] / rows
        lines.append([f"{rows:,}", f"{found['seconds']:.1f}", f"{own:,.0f}", f"{each:,.0f}", f"{peak:,.0f}"])
    say(table(COLUMNS, lines), "rows", asked.into)


def write_table(path: Path, rows: int) -> None:
    """Distinct rows, written one by one."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 9))) for _ in range(VOCABULARY)]
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for _ in range(rows):
            file.write(f"{' '.join(draw.choices(words, k=WORDS))},label {draw.randrange(LABELS)}\n")


def measured(path: Path) -> dict[str, Any]:
    """Seconds, and bytes above what the process had when the imports were done."""
    import pyarrow

    from unfreeze.data.prepare import prepare
    from unfreeze.recipe import DataRecipe

    small = path.with_name("small.csv")
    write_table(small, 200)
    prepare(DataRecipe(path=str(small)), task=None, seed=0)  # what is imported on the way,
    pyarrow.array(["a"], pyarrow.large_binary())  # and what only large tables import
    own, peak = _status("RssAnon"), _status("VmRSS")
    most, done = own, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(EVERY):
            most = max(most, _status("RssAnon"))

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    prepared = prepare(DataRecipe(path=str(path)), task=None, seed=0)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return {
        "seconds": seconds,
        "own": most - own,
        "peak": _status("VmHWM") - peak,
        "fingerprint": prepared.manifest.fingerprint,
    }


def _status(name: str) -> int:
    """A figure of the process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
