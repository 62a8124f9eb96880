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
from pathlib import Path
from typing import Any

import torch
from bench.machine import rates
from pages import say, table
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from unfreeze.api import make_job, recipe_of
from unfreeze.demo.stdlib_docstrings import write_csv
from unfreeze.planning import make_plan
from unfreeze.progress import Silent
from unfreeze.stack.frontier import set_modes
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
    fastest = max(rates("cpu").values())
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        texts = write_csv(Path(folder) / "texts.csv")
        pictures = _pictures(Path(folder) / "pictures")
        cases: list[tuple[str, Path, dict[str, Any]]] = [(method, texts, {"method": method}) for method in TEXTS]
        image = {"model": "mobilenetv2_100", "method": "scratch", "model__image_size": 224, "batch_size": 16}
        cases.append(("mobilenetv2_100, all layers", pictures, image))
        for title, data, options in cases:
            lines.append([title, *_measured(data, options, fastest)])
    columns = ["update of", "whole, ms", "floor, ms", *KINDS, "everything else"]
    say(table(columns, lines, words=1), "operators", asked.into)


def _measured(data: Path, options: dict[str, Any], rate: float) -> list[str]:
    """Milliseconds of the whole update, of its floor, and of each kind of operation; medians, and means."""
    training = _training(data, options)
    job = training.job
    phase = job.phases[0]
    batches = training_batches(job.train.lengths, job.batch_size, key=(0,))[:UPDATES]
    took = []
    for rows in batches:
        started = time.perf_counter()
        training._update(phase, UPDATES, rows, None)
        took.append(time.perf_counter() - started)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for rows in batches[WARM:]:
            training._update(phase, UPDATES, rows, None)
    with FlopCounterMode(display=False, custom_mapping={aten.convolution_backward: _convolved_back}) as counter:
        for rows in batches[WARM:]:
            training._update(phase, UPDATES, rows, None)
    count = len(batches) - WARM
    sums = dict.fromkeys([*KINDS, ""], 0.0)
    for event in seen.key_averages():
        kind = next((kind for kind, names in KINDS.items() if re.fullmatch(names, event.key)), "")
        sums[kind] += event.self_cpu_time_total / 1000 / count
    whole = 1000 * statistics.median(took[WARM:])
    sums[""] = max(0.0, whole - sum(value for kind, value in sums.items() if kind))
    floor = 1000 * counter.get_total_flops() / count / rate
    return [f"{value:.0f}" for value in (whole, floor, *sums.values())]


def _convolved_back(gradient: Sequence[int], _: Sequence[int], weight: Sequence[int], *more: Any, **how: Any) -> int:
    """Operations of a convolution's gradients; torch's own count takes one in groups for a dense one."""
    which = more[-1]
    return sum(which[:2]) * 2 * gradient[0] * math.prod(gradient[2:]) * math.prod(weight)


def _training(data: Path, options: dict[str, Any]) -> Training:
    model = options.get("model")
    more = {key: value for key, value in options.items() if key != "model"}
    recipe, _ = recipe_of(data, model, None, {**more, "device": "cpu"})
    job = make_job(make_plan(recipe), Path(), Silent())
    training, phase = Training(job), job.phases[0]
    training.loop.phase = phase
    job.working.set_learning(phase.learn)
    set_modes(job.working.stack, phase.learn)
    return training


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
