"""Kill a run at fifty random moments, resume each time, and see whether it ends as the uninterrupted one.

    python benchmarks/interruptions.py

fine-tunes the lower half of the embedded MiniLM on docstrings of Python's standard library, on one thread: three
phases, with replay, dropout, an average of the weights and a checkpoint every half second. Each of the fifty runs is a
process of its own that gets SIGKILL, is resumed by another process, and is compared with the uninterrupted run: the
sha256 of the saved weights, every prediction on the test split, every figure. The table is written to
docs/interruptions.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

import unfreeze
from unfreeze.demo.stdlib_docstrings import write_csv
from unfreeze.progress import Silent
from unfreeze.stack.cache import PROCESS_CACHE

PHASES = [
    {"name": "head", "learn": "head", "epochs": 2},
    {"name": "top block", "learn": "last:2", "epochs": 1.5},
    {"name": "two blocks", "learn": "last:3", "epochs": 1},
]
OPTIONS: dict[str, Any] = {
    "target": "label",
    "max_rows": 120,
    "model__max_length": 16,
    "model__drop_top": 3,
    "phases": PHASES,
    "batch_size": 16,
    "ema": 0.9,
    "precision": "float32",
    "checkpoint_every": 0.5,
    "threads": 1,
    "evaluation__gate": "inline",
    "evaluation__bootstrap": 100,
}
EARLY = 0.15
"""One kill in about seven falls before training, the others anywhere from its beginning to the end of the run."""

TIMES = ("seconds", "train_seconds", "finished", "notes", "cost")
fork = multiprocessing.get_context("fork")


@dataclass
class Shared:
    """Where a process stands, seen from outside: stage (0: before training, 1 to 3: phase, 4: after), updates."""

    stage: Any
    updates: Any

    @classmethod
    def new(cls) -> Shared:
        """Without locks, which a killed process would never give back."""
        return cls(fork.Value("i", 0, lock=False), fork.Value("i", 0, lock=False))


class Tell(Silent):
    """Writes the standing of a run where another process can read it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    def phase(self, index: int, phase: Any, steps: int) -> None:
        self.shared.stage.value = index + 1

    def step(self, step: int, loss: float, lr: float) -> None:
        self.shared.updates.value += 1

    def stage(self, message: str) -> None:
        if message == "scoring":
            self.shared.stage.value = len(PHASES) + 1


@dataclass(frozen=True)
class Kill:
    """One run that was killed and resumed."""

    lived: float
    stage: int
    updates: int
    resumed_from: int | None
    same: bool


def in_process(work: Callable[[], Any], kill_when: Callable[[], None] | None = None) -> tuple[int, float]:
    """Run in a forked process, killed when `kill_when` returns; its exit code and the seconds that it lived."""
    process = fork.Process(target=work)
    began = time.perf_counter()
    process.start()
    if kill_when is not None:
        kill_when()
        process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, time.perf_counter() - began


def moment(shared: Shared, share: float, before: float, training: float) -> None:
    """Wait: below 0 for a part of the time before training, else for a part of the time from its beginning on."""
    if share < 0:
        time.sleep(-share / EARLY * before)
        return
    while not shared.stage.value:
        time.sleep(0.001)
    time.sleep(share * training)


def essence(run: Path) -> dict[str, Any]:
    """Everything that equal runs have in common."""
    result = json.loads((run / "result.json").read_text())
    return {
        "weights": hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "predictions": (run / "predictions.jsonl").read_text(),
        **{key: value for key, value in result.items() if key not in TIMES},
    }


def continued_from(run: Path) -> int | None:
    """The update that the run went on from, if it had a checkpoint."""
    notes = json.loads((run / "result.json").read_text())["notes"]
    found = [int(note.rsplit(" ", 1)[1]) for note in notes if note.startswith("continuing from update")]
    return found[-1] if found else None


def killed_once(
    folder: Path, data: Path, seed: int, wait: Callable[[Shared], None], expected: Mapping[str, Any]
) -> Kill | None:
    """A run that is killed at a moment and resumed; None if it had ended before."""
    run = folder / "killed"
    shutil.rmtree(run, ignore_errors=True)
    shared = Shared.new()

    def begin() -> None:
        unfreeze.fit(data, output=run, seed=seed, progress=Tell(shared), **OPTIONS)

    code, lived = in_process(begin, lambda: wait(shared))
    if code != -signal.SIGKILL:
        return None
    stage, updates = shared.stage.value, shared.updates.value
    begun = (run / "status.json").exists()
    code, _ = in_process((lambda: unfreeze.resume(run)) if begun else begin)
    return Kill(lived, stage, updates, continued_from(run), code == 0 and essence(run) == expected)


def page(kills: list[Kill], whole: Mapping[str, Any], took: float, seed: int) -> str:
    """The results as Markdown."""
    rows, updates = sum(whole["rows"].values()), whole["history"][-1]["step"]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "safetensors"))
    stages = ["before training", *(f"phase “{phase['name']}”" for phase in PHASES), "scoring, saving"]
    counts = Counter(stages[kill.stage] for kill in kills)
    same = sum(kill.same for kill in kills)
    lines = [
        f"# A run killed at {len(kills)} random moments",
        "",
        "Each row is a run of its own. Its process got SIGKILL at a random moment, another process resumed it, and",
        "what came out was compared with the run that nobody interrupted: the sha256 of the saved weights, every",
        "prediction on the test split, every figure, the history of losses.",
        "",
        f"**{same} of {len(kills)} ended identical to the uninterrupted run, bit for bit.**",
        "",
        f"- Made by `python benchmarks/interruptions.py --kills {len(kills)} --seed {seed}`.",
        f"- Model: the lower half of the embedded MiniLM. Data: {rows} docstrings of Python's standard library.",
        f"  {len(PHASES)} phases, {updates} updates, with replay, dropout and an average of the weights.",
        f"- The uninterrupted run took {took:.1f} s on one thread of a busy machine, with a checkpoint every half",
        "  second (the default is a minute); what was done since the last one is done again.",
        f"- Python {platform.python_version()}, {versions}; CPU.",
        f"- Where the kills fell: {', '.join(f'{stage} {counts[stage]}' for stage in stages if counts[stage])}.",
        "",
        "| # | killed after (s) | while | updates done | resumed from update | identical |",
        "|--:|--:|---|--:|--:|---|",
    ]
    for number, kill in enumerate(kills, 1):
        origin = "the start" if kill.resumed_from is None else str(kill.resumed_from)
        verdict = "yes" if kill.same else "**no**"
        cells = (number, f"{kill.lived:.2f}", stages[kill.stage], kill.updates, origin, verdict)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def measure(folder: Path, kills: int, seed: int) -> tuple[list[Kill], dict[str, Any], float]:
    """The killed runs, the uninterrupted one, and how long that took in a forked process."""
    data = write_csv(folder / "docstrings.csv")
    unfreeze.fit(data, output=folder / "warm", seed=seed, **OPTIONS)  # loads every library before the first fork
    PROCESS_CACHE.clear()
    shared, before = Shared.new(), fork.Value("d", 0.0, lock=False)
    began = time.perf_counter()

    class Timed(Tell):
        def phase(self, index: int, phase: Any, steps: int) -> None:
            before.value = before.value or time.perf_counter() - began
            super().phase(index, phase, steps)

    def whole() -> None:
        unfreeze.fit(data, output=folder / "whole", seed=seed, progress=Timed(shared), **OPTIONS)

    code, took = in_process(whole)
    assert code == 0
    expected = essence(folder / "whole")
    draw, done = random.Random(seed), []
    while len(done) < kills:
        wait = partial(moment, share=draw.uniform(-EARLY, 1), before=before.value, training=took - before.value)
        kill = killed_once(folder, data, seed, wait, expected)
        if kill is not None:
            done.append(kill)
            print(f"{len(done):3d}/{kills}  {kill}", file=sys.stderr, flush=True)
    return done, expected, took


def main() -> int:
    """Write the page; 1 if any run ended differently."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=Path(__file__).parents[1] / "docs" / "interruptions.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kills, whole, took = measure(Path(folder), asked.kills, asked.seed)
    asked.page.write_text(page(kills, whole, took, asked.seed), encoding="utf-8")
    return 0 if all(kill.same for kill in kills) else 1


if __name__ == "__main__":
    sys.exit(main())
