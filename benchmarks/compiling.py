"""What torch.compile costs and gains in training: processor seconds to compile, and for each update before and after.

    python benchmarks/compiling.py [text] [images] [--precision bf16 float32] [--device cuda] [--into PAGE]

Forward and backward passes of the embedded sentence encoder on batches of 32 texts of many lengths, and of a ResNet-18
on 16 images of 112 pixels, each plainly as unfreeze computes them, then compiled for changing sizes: at first with an
empty cache of kernels, and once more in a process that finds them there. One thread; each measurement is a process of
its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from pages import say, table

from unfreeze.models.kernels import fast_kernels
from unfreeze.models.load import load_pretrained
from unfreeze.recipe import ModelRecipe
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.working import Working, make_working

UPDATES, ROUNDS = 24, 3
ROWS = {"text": 32, "images": 16}
SIDE = 112
COLUMNS = (
    "model, type",
    "an update, ms",
    "compiled, ms",
    "compiling, s",
    "from its cache, s",
    "pays after so many updates",
    "from its cache after",
    "gradients differ by",
)


def main() -> None:
    """Print a line for each kind of model and type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="*", default=["text", "images"])
    parser.add_argument("--precision", nargs="+", default=["bf16", "float32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", choices=["plain", "compiled"], help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- compiling --> and <!-- /compiling -->")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(_measured(asked.kind[0], asked.precision[0], asked.measure, torch.device(asked.device))))
        return
    lines = []
    for kind in asked.kind:
        for precision in asked.precision:
            with tempfile.TemporaryDirectory() as cache:
                plain, cold, warm = (
                    _in_a_process(kind, precision, measure, asked.device, cache)
                    for measure in ("plain", "compiled", "compiled")
                )
            gain = plain["update"] - cold["update"]
            pays = [f"{cost / gain:,.0f}" if gain > 0 else "never" for cost in (cold["cost"], warm["cost"])]
            times = [f"{1000 * found['update']:.0f}" for found in (plain, cold)]
            costs = [f"{found['cost']:.0f}" for found in (cold, warm)]
            lines.append([f"{kind}, {precision}", *times, *costs, *pays, f"{cold['difference']:.0e}"])
    say(table(COLUMNS, lines, words=1), "compiling", asked.into)


def _in_a_process(kind: str, precision: str, measure: str, device: str, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, kind, "--precision", precision, "--measure", measure, "--device", device]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stderr)
    told: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return told


def _measured(kind: str, precision: str, measure: str, device: torch.device) -> dict[str, float]:
    """Seconds of an update once everything is compiled, and what the first round took beyond that."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    working = _working(kind, precision, () if measure == "compiled" else fast_kernels(device), device)
    forward = torch.compile(working.module, dynamic=True) if measure == "compiled" else working.module
    batches = _batches(kind, working, device)
    rounds = []
    for _ in range(ROUNDS):
        took = []
        for batch in batches:
            started = _clock(device)
            _update(working, forward, batch)
            took.append(_clock(device) - started)
        rounds.append(took)
    return {
        "update": statistics.median(rounds[-1]),
        "cost": sum(rounds[0]) - sum(rounds[-1]),
        "difference": _difference(working, forward, batches),
    }


def _update(working: Working, forward: Any, batch: dict[str, torch.Tensor]) -> None:
    for parameter in working.master.module.parameters():
        parameter.grad = None
    forward(**batch).float().square().mean().backward()
    working.collect(working.master.names)


def _difference(working: Working, forward: Any, batches: list[dict[str, torch.Tensor]]) -> float:
    """Between the gradients of the compiled and the plain module without dropout, relative to their size."""
    for module in working.module.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found = []
    for one in (forward, working.module):
        _update(working, one, batches[0])
        found.append(torch.cat([p.grad.flatten() for p in working.master.module.parameters() if p.grad is not None]))
    return float((found[0] - found[1]).norm() / found[1].norm())


def _working(kind: str, precision: str, kernels: Any, device: torch.device) -> Working:
    text = kind == "text"
    asked = ModelRecipe(name="all-MiniLM-L6-v2" if text else "resnet18")
    pretrained = load_pretrained(
        asked, modality="text" if text else "image", outputs=5, seed=0, random_weights=not text
    )
    pretrained.module.to(device)
    stack = pretrained.stack()
    working = make_working(stack, precision, kernels)
    working.set_learning(stack.names)
    set_modes(working.stack, stack.names)
    return working


def _batches(kind: str, working: Working, device: torch.device) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    if kind == "images":
        pictures = torch.randn(UPDATES, ROWS[kind], 3, SIDE, SIDE, device=device)
        return [working.laid_out({"pixel_values": some}) for some in pictures]
    found = []
    for length in torch.randint(8, 64, (UPDATES,)).tolist():
        ids = torch.randint(1000, 20000, (ROWS[kind], length), device=device)
        mask, types = torch.ones_like(ids), torch.zeros_like(ids)
        found.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
    return found


def _clock(device: torch.device) -> float:
    """Processor time of this process and of the compilers that it called; on an accelerator what passes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
