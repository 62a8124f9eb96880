"""A training about to take its first update, for benchmarks of single updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unfreeze.api import make_job, recipe_of
from unfreeze.planning import make_plan
from unfreeze.progress import Silent
from unfreeze.stack.frontier import set_modes
from unfreeze.train.loop import Training


def ready(data: Path, model: str | None = None, **options: Any) -> Training:
    """What `unfreeze.fit(data, model, **options)` would train on the CPU, in its first phase; nothing is written."""
    recipe, _ = recipe_of(data, model, None, {**options, "device": "cpu"})
    job = make_job(make_plan(recipe), Path(), Silent())
    training, phase = Training(job), job.phases[0]
    training.loop.phase = phase
    job.working.set_learning(phase.learn)
    set_modes(job.working.stack, phase.learn)
    return training
