"""The end of a run: the test split is read once, the model is saved, and a fresh process must reproduce it."""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unfreeze.data.manifest import ImageRef
from unfreeze.errors import ModelError
from unfreeze.evaluation.gate import FreshProcess, GateResult, pass_gate, write_gate
from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evaluation.kept import Kept, keeping
from unfreeze.models.kernels import fast_kernels
from unfreeze.models.plain import write_head
from unfreeze.models.store import save
from unfreeze.models.techniques import fold, interchange
from unfreeze.progress import Progress
from unfreeze.recipe import Recipe
from unfreeze.stack.working import make_working
from unfreeze.tasks._task import Scorer
from unfreeze.train.feed import Feed
from unfreeze.train.files import finite, full_disk_said, write_bytes
from unfreeze.train.job import Job
from unfreeze.train.loop import Training
from unfreeze.train.scoring import score

DECODED_TOGETHER = 10_000
"""Predictions that are in words at a time."""


def fresh_process(recipe: Recipe) -> AbstractContextManager[FreshProcess | None]:
    """The process that will reload the model, where the recipe asks for one; its libraries load meanwhile."""
    return FreshProcess() if recipe.evaluation.gate == "process" else nullcontext()


def evaluate_and_save(
    job: Job,
    test: Feed | None,
    training: Training,
    trained_seconds: float,
    progress: Progress,
    fresh: FreshProcess | None = None,
) -> tuple[dict[str, Any], dict[str, Kept]]:
    """Score the best weights on validation and test, beside the simplest alternative; save; pass the gate.

    Parameters
    ----------
    fresh : FreshProcess, optional
        What reloads the model; None: this process does.

    Returns
    -------
    dict, and dict of Kept
        What `result.json` holds; what the model gave for each row, by split.

    Raises
    ------
    ReloadError
        If the saved model does not reproduce the trained one.
    """
    progress.stage("scoring")
    test = test if test is not None and len(test) else None
    scored = _scored(job, test, training)
    progress.stage(f"saving, and reloading in {'this' if fresh is None else 'a fresh'} process")
    gate = _saved(job, test or job.validation or job.train, fresh)
    return {**_about(job, training, trained_seconds), **scored.said, "gate": asdict(gate)}, scored.kept


@dataclass
class _Scored:
    """What `result.json` says of validation and test, and what the model gave for their rows."""

    said: dict[str, Any]
    kept: dict[str, Kept] = field(default_factory=dict)


def _scored(job: Job, test: Feed | None, training: Training) -> _Scored:
    """Validation and test by the model as it will be saved; the test split is read here, and only here."""
    folded = _fold(job)
    found = _Scored({"validation": {}, "test": {}, "cost": {"scored": None}})
    if job.validation is not None:
        with keeping(job.working.module, len(job.validation)) as keeper:
            scorer = score(job, job.validation, None if folded else training.kept_features(job.validation), keeper.keep)
        found.said["validation"], found.kept["validation"] = _figures(job, scorer), keeper.kept()
    if test is not None:
        began = time.perf_counter()
        with keeping(job.working.module, len(test)) as keeper:
            scorer = score(job, test, keep=keeper.keep)
        found.said["cost"] = {"scored": {"rows": len(test), "seconds": time.perf_counter() - began}}
        found.said["test"], found.kept["test"] = _figures(job, scorer), keeper.kept()
        _write_predictions(job, test, found.kept["test"].outputs)
    found.said["baseline"] = _baseline(job, test or job.validation)
    found.said["test_fingerprint"] = _fingerprint(test)
    return found


def _saved(job: Job, sample: Feed, fresh: FreshProcess | None) -> GateResult:
    """Write what runs on any machine, float32 on the CPU, and see that it can be reloaded."""
    job.pretrained.module.to("cpu")
    job.device = torch.device("cpu")
    with full_disk_said(job.folder / "model"):
        save(job.pretrained, job.folder / "model", unmoved=_unmoved(job))
        _exchange(job)
    evaluation = job.recipe.evaluation
    with full_disk_said(job.folder / "gate"):
        write_gate(job.folder / "gate", job.pretrained, sample.examples, evaluation.gate_rows)
    return pass_gate(job.folder, tolerance=evaluation.gate_tolerance, fresh=fresh)


def _about(job: Job, training: Training, seconds: float) -> dict[str, Any]:
    """What was trained, and how that went."""
    at = training.at
    return {
        "status": "finished",
        "task": job.manifest.task,
        "metric": job.metric,
        "higher_is_better": job.task.higher_is_better(job.metric),
        "method": "phases" if job.recipe.method.phases else job.recipe.method.name,
        "model": {"name": job.recipe.model.name, "family": job.pretrained.family.name},
        "parameters": sum(job.stack.size(group) for group in job.stack.groups),
        "learned_parameters": sum(job.stack.size(job.stack.group(name)) for name in job.learned),
        "rows": job.manifest.rows,
        "phases": [asdict(phase) for phase in job.phases],
        "history": at.history,
        "best_epoch": at.best_epoch,
        "stopped": at.stopped,
        "ledger": at.ledger,
        "notes": job.notes,
        "train_seconds": seconds,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _fold(job: Job) -> bool:
    """Before anything is scored, drop what only training needed: what is scored is what will be saved."""
    if not fold(job.pretrained):
        return False
    job.stack = job.pretrained.stack()
    faster = fast_kernels(job.device) if job.recipe.training.fast_kernels else ()
    job.working = make_working(job.stack, job.recipe.training.precision, faster)
    return True


def _exchange(job: Job) -> None:
    """What was added, as peft reads it, and the head, beside the model; or a note why not."""
    folder = job.folder / "model" / "peft"
    try:
        interchange(job.pretrained, folder)
        if folder.exists():
            write_head(job.pretrained, folder, job.manifest)
    except ModelError as error:
        job.note(str(error))


def _unmoved(job: Job) -> set[str]:
    """Parameters and buffers of the base's groups that learned in no phase."""
    groups = [group for group in job.stack.groups if group.name not in job.learned and not group.beside]
    return {name for group in groups for name in (*group.parameters, *group.buffers)}


def _figures(job: Job, scorer: Scorer) -> dict[str, dict[str, float | None]]:
    return with_intervals(scorer, job.recipe.evaluation.bootstrap, job.recipe.seed)


def _write_predictions(job: Job, feed: Feed, outputs: Tensor) -> None:
    """Each test row's target and prediction, a line each."""
    examples, content = feed.examples, bytearray()
    for start in range(0, len(feed), DECODED_TOGETHER):
        part = slice(start, start + DECODED_TOGETHER)
        decoded = job.task.decode(outputs[part], job.manifest)
        for origin, target, row in zip(examples.origin[part], examples.targets[part], decoded, strict=True):
            line = json.dumps(finite({"origin": origin, "target": target, **row}), ensure_ascii=False)
            content += f"{line}\n".encode()
    write_bytes(job.folder / "predictions.jsonl", bytes(content))


def _baseline(job: Job, feed: Feed | None) -> dict[str, Any]:
    """The figures of an answer that ignores the input."""
    name, outputs = job.task.baseline(job.train.examples.targets, job.manifest)
    if feed is None:
        return {"name": name, "test": {}}
    scorer = job.task.scorer(job.manifest)
    scorer.update(outputs.float().reshape(1, -1).expand(len(feed), -1), feed.targets)
    return {"name": name, "test": _figures(job, scorer)}


def _fingerprint(feed: Feed | None) -> str:
    """Whether two runs were scored on the same rows: texts by what they say, images by the names of their files."""
    import hashlib

    digest = hashlib.sha256()
    if feed is not None:
        rows = feed.examples
        for origin, read, target in zip(rows.origin, rows.inputs, rows.targets, strict=True):
            text = "" if isinstance(read, ImageRef) else read
            digest.update(f"{Path(origin).name}\0{text}\0{target}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]
