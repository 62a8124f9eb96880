"""What an update is spent on: milliseconds by kind of operation, beside the least that its arithmetic could take.

    python benchmarks/operators.py [--into docs/speed.md]

Updates of the embedded sentence encoder on docstrings of the standard library, by each method, and of a MobileNet-v2
with random weights on generated pictures of 224 pixels; all threads. What torch's profiler counts to no operation is
Python, and the profiler's own work, which is why the whole is measured without it.
"""

from __future__ import annotations

import argparse
import math
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench.machine import rates
from pages import say, table
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from updates import ready

from unfreeze.demo.stdlib_docstrings import write_csv
from unfreeze.machine import keeping_pages
from unfreeze.train.loop import Training
from unfreeze.train.order import training_batches

UPDATES, WARM = 16, 4
aten = torch.ops.aten
TEXTS = ("full", "last:3", "lora", "adapter", "prefix", "prompt")

KINDS = {
    "products and convolutions": r"aten::(addmm|mm|bmm|baddbmm|_?convolution.*|mkldnn_.*|_mkldnn_.*)_?",
    "attention": r"aten::(_softmax.*|masked_fill_?|_scaled_dot.*)",
    "norms": r"aten::.*(layer|batch)_norm.*",
    "activations": r"aten::(gelu|silu|relu|hardtanh|hardswish|tanh|sigmoid).*",
    "dropout": r"(_Dropped|_DroppedBackward|aten::bitwise_and_|aten::.*dropout.*)",
    "copies and casts": r"aten::(copy_|_to_copy|clone|contiguous|_foreach_copy_)",
    "sums and scalings": r"aten::(add|mul|sub|div|sum|neg)_?",
    "optimizer and clipping": r"(aten::_fused_adamw_|aten::linalg_vector_norm|Optimizer.*|aten::_foreach_.*)",
}
"""By the names that torch gives its operations; the first kind that fits."""


def main() -> None:
    """Print a table with a line for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- operators --> and <!-- /operators -->")
    asked = parser.parse_args()
    found, fastest = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        texts, pictures = write_csv(Path(folder) / "texts.csv"), _pictures(Path(folder) / "pictures")
        image = {"method": "scratch", "model__image_size": 224, "batch_size": 16}
        cases: dict[str, tuple[Path, str | None, dict[str, Any]]] = {
            **{method: (texts, None, {"method": method}) for method in TEXTS},
            "mobilenetv2_100, all layers": (pictures, "mobilenetv2_100", image),
        }
        for title, (data, model, options) in cases.items():
            # Before each, and the best counts: a floor must not be raised by a moment in which the machine was slow.
            fastest = max(fastest, *rates("cpu").values())
            with keeping_pages() if data == pictures else nullcontext():  # as a run does
                found[title] = _measured(ready(data, model, **options))
    lines = [
        [title, *(f"{value:.0f}" for value in (seen.whole, 1000 * seen.flops / fastest, *seen.kinds.values()))]
        for title, seen in found.items()
    ]
    columns = ["update of", "whole, ms", "floor, ms", *KINDS, "everything else"]
    say(table(columns, lines, words=1), "operators", asked.into)


@dataclass(frozen=True)
class Seen:
    """Of an update: milliseconds of the whole and of each kind of operation, and how many operations it has."""

    whole: float
    flops: float
    kinds: dict[str, float]


def _measured(training: Training) -> Seen:
    """The median of the whole, without the profiler; means of the rest."""
    job = training.job
    phase = job.phases[0]
    batches = training_batches(job.train.lengths, job.batch_size, key=(0,))[:UPDATES]
    took = []
    for rows in batches:
        started = time.perf_counter()
        training._update(phase, UPDATES, rows, None)
        took.append(1000 * (time.perf_counter() - started))
    counted = FlopCounterMode(display=False, custom_mapping={aten.convolution_backward: _convolved_back})
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for rows in batches[WARM:]:
            training._update(phase, UPDATES, rows, None)
    with counted:
        for rows in batches[WARM:]:
            training._update(phase, UPDATES, rows, None)
    count, whole = len(batches) - WARM, statistics.median(took[WARM:])
    kinds = dict.fromkeys(KINDS, 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, names in KINDS.items() if re.fullmatch(names, event.key)), None)
        if kind:
            kinds[kind] += event.self_cpu_time_total / 1000 / count
    return Seen(whole, counted.get_total_flops() / count, kinds | {"": max(0.0, whole - sum(kinds.values()))})


def _convolved_back(gradient: Sequence[int], _: Sequence[int], weight: Sequence[int], *more: Any, **how: Any) -> int:
    """Operations of a convolution's gradients; torch's own count takes one in groups for a dense one."""
    which = more[-1]
    return sum(which[:2]) * 2 * gradient[0] * math.prod(gradient[2:]) * math.prod(weight)


def _pictures(folder: Path) -> Path:
    """Two classes of noise: what they show does not matter."""
    torch.manual_seed(0)
    for label in ("one", "two"):
        (folder / label).mkdir(parents=True)
        for number in range(200):
            pixels = torch.randint(256, (224, 224, 3), dtype=torch.uint8).numpy()
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


if __name__ == "__main__":
    main()
