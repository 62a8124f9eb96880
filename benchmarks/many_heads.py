"""What training 32 heads together costs, beside one of them by the same code and beside one run's head phase.

OMP_NUM_THREADS=1 python benchmarks/many_heads.py

Features stand ready in all three: 7,000 rows of width 384, batches of 32, 10 epochs. The three are timed in turn, and
the best of several rounds is taken, so that other work on the machine does not decide.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unfreeze import api
from unfreeze.grid import Grid
from unfreeze.planning import make_plan
from unfreeze.progress import Silent
from unfreeze.train.head_inputs import head_inputs, kept_features
from unfreeze.train.heads import HeadTraining
from unfreeze.train.job import Job
from unfreeze.train.loop import Training

MODEL = "all-MiniLM-L6-v2"
CLASSES = (2, 4, 8, 16, 32, 77)
ROWS, HELD_OUT, EPOCHS, ROUNDS = 7000, 1000, 10, 5
MANY = Grid((1e-3, 3e-3, 1e-2, 3e-2), (0.0, 0.01), (0, 1, 2, 3))
ONE = Grid((1e-2,), (0.01,), (0,))


def main() -> None:
    """Print the seconds of each, and how many times one the 32 take, by the number of classes."""
    for classes in CLASSES:
        for dropout in (0.0, 0.1):
            job = ready(classes, dropout)
            kept = kept_features(job, len(MANY))
            assert job.validation is not None
            features = [head_inputs(job, feed, kept.get(id(feed))) for feed in (job.train, job.validation)]
            ways = {
                "32 heads": lambda job=job, features=features: HeadTraining(job, MANY, *features).run(),
                "one head": lambda job=job, features=features: HeadTraining(job, ONE, *features).run(),
                "one run's phase": lambda job=job: Training(job).run(),
            }
            best = fastest(ways)
            many, one, phase = best.values()
            seconds = "  ".join(f"{name} {value:6.2f} s" for name, value in best.items())
            ratios = f"{many / one:.2f} times one head, {many / phase:.2f} times one run's"
            print(f"{classes:3} classes, dropout {dropout:g}:  {seconds}  =  {ratios}", flush=True)


def ready(classes: int, dropout: float) -> Job:
    """A job on short texts that mean nothing, with its head set to learn."""
    draw = random.Random(0)
    texts: dict[str, str] = {}
    while len(texts) < ROWS + 2 * HELD_OUT:
        words = ("".join(draw.choices("abcdefghij", k=3)) for _ in range(draw.randint(2, 5)))
        texts.setdefault(" ".join(words), f"class {len(texts) % classes}")
    rows, ends = list(texts.items()), (ROWS, ROWS + HELD_OUT)
    data = {"train": rows[: ends[0]], "validation": rows[ends[0] : ends[1]], "test": rows[ends[1] :]}
    asked: dict[str, Any] = {"method": "head", "epochs": EPOCHS, "batch_size": 32, "precision": "float32"}
    asked |= {"leaks": "keep", "data__duplicates": "keep", "model__dropout": dropout}
    recipe, objects = api.recipe_of(data, MODEL, None, asked)
    made = make_plan(recipe, objects)
    job = api.make_job(made, Path(tempfile.mkdtemp()), Silent())
    job.working.set_learning(job.phases[0].learn)
    return job


def fastest(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The shortest time of each in seconds, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}


if __name__ == "__main__":
    main()
