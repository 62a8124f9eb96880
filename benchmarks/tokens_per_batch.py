"""How many tokens a batch should hold where nothing is learned: microseconds for each token, by length and size.

    python benchmarks/tokens_per_batch.py [--device cuda] [--into PAGE]

The embedded sentence encoder in the form that `evaluate` and `predict` use. One thread on a CPU; processor time, the
best of several in alternation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pages import say, table
from torch import Tensor

from unfreeze.evaluation.reading import fast
from unfreeze.models.load import load_pretrained
from unfreeze.recipe import ModelRecipe

BUDGETS = (256, 512, 1024, 2048, 4096, 8192, 16384)
LENGTHS = (8, 16, 32, 64, 128, 256)
ROUNDS = 4


def main() -> None:
    """Print a line for each type and length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["bf16", "float32"])
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- tokens --> and <!-- /tokens -->")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.set_num_threads(1)
    lines = []
    for precision in asked.precision:
        pretrained = load_pretrained(ModelRecipe(name="all-MiniLM-L6-v2"), modality="text", outputs=2, seed=0)
        pretrained.module.to(device)
        module = fast(pretrained, precision).module.eval()
        sums = [0.0] * len(BUDGETS)
        for length in LENGTHS:
            took = _times(module, length, device)
            sums = [total + one / took[-1] for total, one in zip(sums, took, strict=True)]
            lines.append([f"{precision}, {length}", *(f"{1e6 * one:.1f}" for one in took)])
        lines.append([f"{precision}, mean over the last", *(f"{total / len(LENGTHS):.2f}" for total in sums)])
    say(table(["type, length", *(f"{size:,}" for size in BUDGETS)], lines, words=1), "tokens", asked.into)


@torch.inference_mode()
def _times(module: Callable[..., Tensor], length: int, device: torch.device) -> list[float]:
    """Seconds for each token, by the size of the batch."""
    best = [float("inf")] * len(BUDGETS)
    for _ in range(ROUNDS):
        for number, budget in enumerate(BUDGETS):
            rows = max(1, budget // length)
            ids = torch.randint(1000, 20000, (rows, length), device=device)
            given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
            module(**given)
            started = _clock(device)
            module(**given)
            best[number] = min(best[number], (_clock(device) - started) / ids.numel())
    return best


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.thread_time()


if __name__ == "__main__":
    main()
