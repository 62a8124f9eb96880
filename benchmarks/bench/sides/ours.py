"""unfreeze by its public interface and its defaults."""

from __future__ import annotations

import json
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import unfreeze
from bench.jobs import Job
from bench.sides import OURS, REPORT
from bench.work import Told, Work, share_equal
from unfreeze.progress import Silent

KEEP = {"duplicates": "keep", "leaks": "keep", "rare": "keep", "label_variants": "keep"}
"""So that both sides learn from the same rows; the audit itself runs as always."""

STAGES = {
    "reading": "reading and checking the data",
    "loading": "loading the model",
    "computing": "frozen features",
    "saving": "saving, reloading in a fresh process",
    "training": "training",
    "collecting": REPORT,
    "writing": REPORT,
}


class Watch(Silent):
    """When each stage of a fit began."""

    def __init__(self) -> None:
        self.marks: list[tuple[str, float]] = []
        self.notes: list[str] = []

    def _mark(self, name: str) -> None:
        self.marks.append((name, time.perf_counter()))

    def start(self, plan: Any) -> None:
        self._mark("training")

    def stage(self, message: str) -> None:
        self._mark(STAGES.get(message.split()[0], message))

    def phase(self, index: int, phase: Any, steps: int) -> None:
        self._mark("training")

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finish(self, result: Any) -> None:
        self._mark("end")

    def parts(self) -> dict[str, float]:
        """Seconds by stage."""
        found: dict[str, float] = {}
        for (name, began), (_, ended) in zip(self.marks, self.marks[1:], strict=False):
            found[name] = found.get(name, 0.0) + ended - began
        return found


def imports(job: Job) -> None:
    """What `fit` would import first, as a peer's module does: before the clock starts."""
    import_module("unfreeze.api")
    if job.data == "flowers":
        import_module("timm")
        return
    transformers = import_module("transformers")  # whose names are loaded when they are asked for
    for name in ("AutoTokenizer", "LlamaModel" if job.model.config.get("model_type") == "llama" else "BertModel"):
        getattr(transformers, name)


def fit_options(work: Work) -> dict[str, Any]:
    """Keyword arguments of `unfreeze.fit` and `unfreeze.sweep`."""
    job, method = work.job, "head" if work.job.method == "sweep" else work.job.method
    model = str(work.place) if job.model.config else job.model.name
    options: dict[str, Any] = {"data": work.splits, "model": model, "method": method, **KEEP}
    options |= {"epochs": job.epochs, "batch_size": job.batch, "seed": work.seed, "output": work.folder / "run"}
    if job.data == "flowers":
        options |= {**job.model.options, "weights": str(work.place), "image_size": 224}
        if not job.augmented:
            options["augment"] = []
    return options


def run(work: Work) -> Told:
    """A whole fit, or a whole prediction or evaluation by a run that is there."""
    if work.job.data == "prediction":
        return _use(work)
    watch = Watch()
    search = work.job.method == "sweep" and work.side == OURS.key
    made = (unfreeze.sweep if search else unfreeze.fit)(**fit_options(work), progress=watch)
    result, training = made.result, made.recipe.training
    parts = watch.parts()
    return Told(
        rows=result["rows"]["train"],
        epochs=result["history"][-1]["epoch"],
        batch=training.batch_size,
        trainable=result["learned_parameters"],
        validation=result["validation"]["accuracy"]["value"],
        test=result["test"]["accuracy"]["value"],
        train_seconds=parts.get("training", 0.0) + parts.get("frozen features", 0.0),
        parts=parts,
        rates=(training.lr or 0.0, training.head_lr or 0.0),
        notes=[*watch.notes, f"precision {training.precision}"],
        report_seconds=parts.get(REPORT, 0.0),
        left_out=_left_out(made.path),
    )


def _left_out(folder: Path) -> list[str]:
    """Kinds of evidence that are missing in a run's report; a search writes one for its best run alone."""
    collected = folder / "evidence" / "collected.json"
    return sorted(json.loads(collected.read_text())["missing"]) if collected.exists() else []


def _use(work: Work) -> Told:
    rows = work.splits["test"]
    made = unfreeze.load(work.place)
    if work.job.method == "evaluate":
        found = made.evaluate([{"text": text, "label": label} for text, label in rows])
        return Told(rows=found["rows"], test=found["metrics"]["accuracy"]["value"])
    predictions = made.predict([text for text, _ in rows])
    accuracy = share_equal([row["prediction"] for row in predictions], [label for _, label in rows])
    return Told(rows=len(predictions), test=accuracy)
