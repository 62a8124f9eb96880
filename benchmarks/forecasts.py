"""What `unfreeze plan` forecasts of memory and time, beside what the run then takes. To be run on a quiet machine.

    python benchmarks/forecasts.py

Each job is planned in one fresh process and fitted in another, on the CPU, with the reload gate in the same process so
that its peak is one process's. Texts are docstrings of Python's standard library for the embedded MiniLM; images are
generated, 160 pixels wide, for a MobileNet-v2 with random weights. The table is written to docs/forecasts.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ALLOWED = 0.2
"""How far a forecast of memory may be from what is measured, as a share of it."""

TEXT: dict[str, Any] = {"target": "label", "group": "module", "max_rows": 800, "epochs": 2, "batch_size": 32}
IMAGES: dict[str, Any] = {"method": "scratch", "model__image_size": 160, "epochs": 2, "batch_size": 16}
COMMON: dict[str, Any] = {"evaluation__gate": "inline", "evaluation__bootstrap": 100}


@dataclass(frozen=True)
class Case:
    """A job: its data ("texts" or "images"), its model and its options."""

    name: str
    data: str
    model: str | None
    options: Mapping[str, Any]


CASES = (
    Case("texts, head", "texts", None, {**TEXT, "method": "head"}),
    Case("texts, last:2", "texts", None, {**TEXT, "method": "last:2"}),
    Case("texts, full", "texts", None, {**TEXT, "method": "full"}),
    Case("texts, full, float32", "texts", None, {**TEXT, "method": "full", "precision": "float32"}),
    Case(
        "texts, full, float32, activations twice",
        "texts",
        None,
        {**TEXT, "method": "full", "precision": "float32", "gradient_checkpointing": True},
    ),
    Case("texts, full, micro-batches of 4", "texts", None, {**TEXT, "method": "full", "micro_batch": 4}),
    Case("images, all layers", "images", "mobilenetv2_100", IMAGES),
    Case("images, all layers, float32", "images", "mobilenetv2_100", {**IMAGES, "precision": "float32"}),
)


@dataclass(frozen=True)
class Outcome:
    """Bytes and seconds of one case, forecast and measured; `at` is the moment of the forecast peak."""

    name: str
    at: str
    bytes: tuple[int, int]
    seconds: tuple[float, float]

    @property
    def off(self) -> float:
        """By how much of what was measured the forecast of memory is too high."""
        forecast, measured = self.bytes
        return forecast / measured - 1


def texts(folder: Path) -> Path:
    """The docstrings as a table."""
    from unfreeze.demo.stdlib_docstrings import write_csv

    return write_csv(folder / "texts.csv")


def images(folder: Path, per_class: int = 40) -> Path:
    """Noise of three brightnesses, in a folder for each."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for number, label in enumerate("abc"):
        place = folder / "images" / label
        place.mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            pixels = draw.normal(60 + 60 * number, 40, (180, 200, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(place / f"{index}.png")
    return folder / "images"


def planned(case: Case, data: Path) -> dict[str, Any]:
    """The forecast of a case."""
    import unfreeze

    forecast = unfreeze.plan(data, case.model, **COMMON, **case.options).forecast
    assert forecast is not None
    updates = sum(sum(phase.seconds.values()) for phase in forecast.phases[:-1])
    return {"bytes": forecast.peak.bytes, "at": forecast.peak.name, "seconds": updates}


def fitted(case: Case, data: Path, folder: Path) -> dict[str, Any]:
    """The peak of this process, which fits the case, and the seconds from the plan to the first test."""
    import unfreeze
    from unfreeze.progress import Silent

    moments: dict[str, float] = {}

    class Clock(Silent):
        def start(self, plan: Any) -> None:
            moments["start"] = time.perf_counter()

        def stage(self, message: str) -> None:
            if message == "scoring":
                moments["end"] = time.perf_counter()

    unfreeze.fit(data, case.model, output=folder / "run", overwrite=True, progress=Clock(), **COMMON, **case.options)
    return {"bytes": peak(), "seconds": moments["end"] - moments["start"]}


def peak() -> int:
    """The most memory that this process has had. Not `ru_maxrss`, which counts what the parent had before."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def in_fresh_process(work: str, number: int, folder: Path) -> dict[str, Any]:
    """`planned` or `fitted` of a case, with a cache of its own."""
    environment = {**os.environ, "UNFREEZE_CACHE": str(folder / f"cache {number}")}
    command = [sys.executable, __file__, work, str(number), "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(number: int, folder: Path) -> Outcome:
    """One case, planned and fitted."""
    plan, fit = (in_fresh_process(work, number, folder) for work in ("planned", "fitted"))
    return Outcome(CASES[number].name, plan["at"], (plan["bytes"], fit["bytes"]), (plan["seconds"], fit["seconds"]))


def page(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "timm"))
    within = sum(abs(outcome.off) <= ALLOWED for outcome in outcomes)
    lines = [
        "# Forecasts and what was measured",
        "",
        "`unfreeze plan` in one process, `unfreeze fit` in another. Memory is the peak of the fitting process (VmHWM),",
        "with the reload gate inside it; time is from the plan to the end of training.",
        "",
        f"**{within} of {len(outcomes)} forecasts of memory are within {ALLOWED:.0%} of what was measured.**",
        "",
        "- Made by `python benchmarks/forecasts.py`.",
        f"- Python {platform.python_version()}, {versions}; {os.cpu_count()} CPU cores, OMP_NUM_THREADS="
        f"{os.environ.get('OMP_NUM_THREADS', 'all')}.",
        "",
        "| job | forecast (MB) | measured (MB) | off by | at its fullest | forecast (s) | measured (s) |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    for outcome in outcomes:
        megabytes = [f"{count / 1e6:,.0f}" for count in outcome.bytes]
        seconds = [f"{count:.1f}" for count in outcome.seconds]
        cells = [outcome.name, *megabytes, f"{outcome.off:+.0%}", outcome.at, *seconds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page; 1 if a forecast of memory is further off than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", nargs="?", choices=["planned", "fitted"], help=argparse.SUPPRESS)
    parser.add_argument("number", nargs="?", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cases", type=int, nargs="*", default=range(len(CASES)))
    parser.add_argument("--page", type=Path, default=Path(__file__).parents[1] / "docs" / "forecasts.md")
    asked = parser.parse_args()
    if asked.work:
        case = CASES[asked.number]
        data = asked.folder / ("texts.csv" if case.data == "texts" else "images")
        print(json.dumps(planned(case, data) if asked.work == "planned" else fitted(case, data, asked.folder)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts(folder), images(folder)
        outcomes = []
        for number in asked.cases:
            outcomes.append(compared(number, folder))
            print(outcomes[-1], f"{outcomes[-1].off:+.1%}", file=sys.stderr, flush=True)
    asked.page.write_text(page(outcomes), encoding="utf-8")
    return int(any(abs(outcome.off) > ALLOWED for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
