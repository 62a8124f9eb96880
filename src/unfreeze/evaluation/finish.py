"""The end of a run: the test split is read once, the model is saved, and a fresh process must reproduce it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfreeze.evaluation.gate import FreshProcess, pass_gate, write_gate
from unfreeze.evaluation.intervals import with_intervals
from unfreeze.models.store import save
from unfreeze.progress import Progress
from unfreeze.tasks._task import Scorer
from unfreeze.train.feed import Feed
from unfreeze.train.files import finite, full_disk_said, write_bytes
from unfreeze.train.job import Job
from unfreeze.train.loop import Training
from unfreeze.train.scoring import score


def evaluate_and_save(
    job: Job, test: Feed | None, training: Training, trained_seconds: float, progress: Progress
) -> dict[str, Any]:
    """Score the best weights on validation and test, beside the simplest alternative; save; pass the gate.

    Returns
    -------
    dict
        What `result.json` holds.

    Raises
    ------
    ReloadError
        If the saved model does not reproduce the trained one.
    """
    with fresh_process(job) as fresh:
        return _evaluate_and_save(job, test, training, trained_seconds, progress, fresh)


def fresh_process(job: Job) -> AbstractContextManager[FreshProcess | None]:
    """The process that will reload the model, where the recipe asks for one; its libraries load meanwhile."""
    if job.recipe.evaluation.gate != "process":
        return nullcontext()
    return FreshProcess(job.pretrained.family.library)


def _evaluate_and_save(
    job: Job,
    test: Feed | None,
    training: Training,
    trained_seconds: float,
    progress: Progress,
    fresh: FreshProcess | None,
) -> dict[str, Any]:
    at = training.at
    progress.stage("scoring")
    figures = {
        "validation": {}
        if job.validation is None
        else _figures(job, score(job, job.validation, training.validation_features())),
        "test": {} if test is None or not len(test) else _test_figures(job, test),
    }
    baseline = _baseline(job, test if test is not None and len(test) else job.validation)
    progress.stage(f"saving, and reloading in {'this' if fresh is None else 'a fresh'} process")
    # What is written is what runs on any machine: float32 on the CPU.
    job.pretrained.module.to("cpu")
    job.device = torch.device("cpu")
    with full_disk_said(job.folder / "model"):
        save(job.pretrained, job.folder / "model", unmoved=_unmoved(job))
    sample = test if test is not None and len(test) else job.validation or job.train
    evaluation = job.recipe.evaluation
    with full_disk_said(job.folder / "gate"):
        write_gate(job.folder / "gate", job.pretrained, sample.examples, evaluation.gate_rows)
    gate = pass_gate(job.folder, tolerance=evaluation.gate_tolerance, fresh=fresh)
    learned = sum(job.stack.size(job.stack.group(name)) for name in job.learned)
    return {
        "status": "finished",
        "task": job.manifest.task,
        "metric": job.metric,
        "higher_is_better": job.task.higher_is_better(job.metric),
        "method": "phases" if job.recipe.method.phases else job.recipe.method.name,
        "model": {"name": job.recipe.model.name, "family": job.pretrained.family.name},
        "parameters": sum(job.stack.size(group) for group in job.stack.groups),
        "learned_parameters": learned,
        **figures,
        "baseline": baseline,
        "rows": job.manifest.rows,
        "test_fingerprint": _fingerprint(test),
        "phases": [asdict(phase) for phase in job.phases],
        "history": at.history,
        "best_epoch": at.best_epoch,
        "stopped": at.stopped,
        "ledger": at.ledger,
        "gate": asdict(gate),
        "notes": job.notes,
        "train_seconds": trained_seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _unmoved(job: Job) -> set[str]:
    """Parameters and buffers of the groups that learned in no phase."""
    groups = [group for group in job.stack.groups if group.name not in job.learned]
    return {name for group in groups for name in (*group.parameters, *group.buffers)}


def _figures(job: Job, scorer: Scorer) -> dict[str, dict[str, float | None]]:
    return with_intervals(scorer, job.recipe.evaluation.bootstrap, job.recipe.seed)


def _test_figures(job: Job, test: Feed) -> dict[str, dict[str, float | None]]:
    """Score the test split and keep each row's prediction."""
    decoded: dict[int, dict[str, Any]] = {}

    def keep(rows: Sequence[int], outputs: Tensor) -> None:
        decoded.update(zip(rows, job.task.decode(outputs, job.manifest), strict=True))

    scorer = score(job, test, keep=keep)
    _write_predictions(job.folder / "predictions.jsonl", test, decoded)
    return _figures(job, scorer)


def _write_predictions(path: Path, feed: Feed, decoded: dict[int, dict[str, Any]]) -> None:
    lines = [
        json.dumps(
            finite({"origin": feed.examples.origin[row], "target": feed.examples.targets[row], **decoded[row]}),
            ensure_ascii=False,
        )
        for row in range(len(feed))
    ]
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def _baseline(job: Job, feed: Feed | None) -> dict[str, Any]:
    """The figures of an answer that ignores the input."""
    name, outputs = job.task.baseline(job.train.examples.targets, job.manifest)
    if feed is None:
        return {"name": name, "test": {}}
    scorer = job.task.scorer(job.manifest)
    scorer.update(outputs.float().reshape(1, -1).expand(len(feed), -1), feed.targets)
    return {"name": name, "test": _figures(job, scorer)}


def _fingerprint(feed: Feed | None) -> str:
    """Whether two runs were scored on the same rows."""
    import hashlib

    digest = hashlib.sha256()
    if feed is not None:
        for origin, target in zip(feed.examples.origin, feed.examples.targets, strict=True):
            digest.update(f"{Path(origin).name}\0{target}\n".encode())
    return digest.hexdigest()[:16]
