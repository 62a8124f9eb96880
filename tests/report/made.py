"""Run folders written by hand: known outputs and targets, without any training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unfreeze.data.manifest import Column, Examples, Finding, Manifest
from unfreeze.evaluation.intervals import with_intervals
from unfreeze.evidence import mistakes, per_class, residuals
from unfreeze.recipe import EvaluationRecipe, Recipe
from unfreeze.recipe_io import dump_recipe
from unfreeze.run import Run
from unfreeze.tasks import TASKS
from unfreeze.train.files import finite

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
KINDS: dict[str, Callable[[Any], dict[str, Any] | None]] = {
    "per-class": per_class.collect,
    "mistakes": mistakes.collect,
    "residuals": residuals.collect,
}


def context(
    task: str,
    labels: Sequence[str],
    outputs: Tensor,
    targets: Tensor,
    inputs: Sequence[Any] | None = None,
    origin: Sequence[str] | None = None,
    bootstrap: int = 50,
    **manifest: Any,
) -> Any:
    """What evidence is collected from, of a test split alone."""
    rows = len(targets)
    inputs = inputs if inputs is not None else [f"text {row}" for row in range(rows)]
    origin = origin if origin is not None else [f"test.csv, line {row + 2}" for row in range(rows)]
    about = {"source": "test.csv", "modality": "text", "columns": (Column("text", "text", "named"),), **manifest}
    made = Manifest(
        task=task,
        task_reason="said",
        labels=tuple(labels),
        rows={"train": 100, "test": rows},
        counts={"train": dict.fromkeys(labels, 100), "test": dict.fromkeys(labels, rows)} if labels else {},
        split_reason="given",
        fingerprint="0" * 64,
        **about,
    )
    examples = Examples(list(inputs), [plain_target(task, made, row) for row in targets], list(origin))
    return SimpleNamespace(
        judged="test",
        manifest=made,
        task=TASKS.get(task),
        recipe=Recipe(evaluation=EvaluationRecipe(bootstrap=bootstrap)),
        outputs=lambda split: outputs,
        targets=lambda split: targets,
        feeds={"test": SimpleNamespace(examples=examples, targets=targets)},
    )


def plain_target(task: str, manifest: Manifest, encoded: Tensor) -> Any:
    """A target as data hold it."""
    if task == "classification":
        return manifest.labels[int(encoded)]
    if task == "multilabel":
        return tuple(label for label, on in zip(manifest.labels, encoded.tolist(), strict=True) if on)
    return float(encoded) * manifest.target_scale + manifest.target_mean


def write_run(folder: Path, made: Any, more: dict[str, Any] | None = None, **result: Any) -> Run:
    """The folder that a finished run would have left; `more` is further evidence by name."""
    (folder / "evidence").mkdir(parents=True)
    outputs, targets, manifest = made.outputs("test"), made.targets("test"), made.manifest
    scorer = made.task.scorer(manifest)
    scorer.update(outputs, targets)
    examples = made.feeds["test"].examples
    history = [_epoch(1, "probe", 10, 1.0, 0.5), _epoch(2, "all", 20, 0.5, 0.7), _epoch(3, "all", 30, 0.3, 0.6)]
    metric = {"classification": "accuracy", "multilabel": "micro_f1"}.get(manifest.task, "mae")
    content = {
        "status": "finished",
        "task": manifest.task,
        "metric": metric,
        "higher_is_better": metric != "mae",
        "method": "full",
        "model": {"name": "tiny", "family": "bert"},
        "parameters": 1000,
        "learned_parameters": 100,
        "validation": {},
        "test": with_intervals(scorer, 50, 0),
        "baseline": {"name": "majority class", "test": {metric: {"value": 0.1, "low": 0.05, "high": 0.15}}},
        "rows": dict(manifest.rows),
        "test_fingerprint": "abc",
        "phases": [_phase("probe", ["head"]), _phase("all", ["block 0", "head"])],
        "history": history,
        "best_epoch": 2,
        "stopped": "",
        "ledger": [{"phase": "probe", "frozen": {"block 0": "f" * 64}, "unchanged": True}],
        "gate": {"rows": 6, "difference": 0.0, "tolerance": 1e-4, "process": "fresh", "passed": True, "tensors": 4},
        "notes": [],
        "preflight": [],
        "hooks": [],
        "seconds": 12.0,
        "train_seconds": 9.0,
        "finished": "2026-01-01T00:00:00+0000",
        "provenance": {"name": "tiny", "source": "local", "revision": None, "licence": None, "sha256": "1" * 64},
        **result,
    }
    write(folder / "result.json", content)
    write(folder / "status.json", {"status": "finished", "weights": "1" * 64, "hooks": []})
    write(folder / "manifest.json", asdict(manifest))
    (folder / "recipe.resolved.yaml").write_text(dump_recipe(made.recipe, {}), encoding="utf-8")
    (folder / "quarantine.jsonl").touch()
    lines = [
        json.dumps(finite({"origin": origin, "target": target, **row}), ensure_ascii=False)
        for origin, target, row in zip(
            examples.origin, examples.targets, made.task.decode(outputs, manifest), strict=True
        )
    ]
    (folder / "predictions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    found = {name: collect(made) for name, collect in KINDS.items()}
    for name, evidence in {**found, **(more or {})}.items():
        if evidence is not None:
            write(folder / "evidence" / f"{name}.json", evidence)
    return Run(folder)


def _epoch(number: int, phase: str, step: int, loss: float, score: float) -> dict[str, Any]:
    figures = {"accuracy": score, "micro_f1": score, "mae": score, "nll": loss}
    return {"epoch": number, "phase": phase, "step": step, "lr": 1e-3, "loss": loss, "validation": figures}


def _phase(name: str, learn: list[str]) -> dict[str, Any]:
    return {"name": name, "learn": learn, "epochs": 1.5, "until": "epochs", "lr": None, "scales": {}}


def write(path: Path, value: Any) -> None:
    """As runs write JSON."""
    path.write_text(json.dumps(finite(value), ensure_ascii=False, default=list), encoding="utf-8")


def classes(rows: int = 200, labels: Sequence[str] = ("a", "b", "c"), seed: int = 0, **more: Any) -> Any:
    """Classification in which about three of four rows are right."""
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(rng.integers(0, len(labels), rows))
    outputs = torch.from_numpy(rng.normal(size=(rows, len(labels)))).float()
    outputs[torch.arange(rows), targets] += 1.5
    return context("classification", labels, outputs, targets, **more)


def several(rows: int = 120, labels: Sequence[str] = ("a", "b", "c"), seed: int = 0, **more: Any) -> Any:
    """Several labels for each row."""
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(rng.random((rows, len(labels))) < 0.4).float()
    outputs = torch.from_numpy(rng.normal(size=(rows, len(labels)))).float() + 2 * targets - 1
    return context("multilabel", labels, outputs, targets, **more)


def numbers(rows: int = 150, seed: int = 0, **more: Any) -> Any:
    """Numbers around 100, predicted with a bias of 3."""
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(rng.normal(size=rows)).float()
    outputs = targets[:, None] + 0.3 * torch.from_numpy(rng.normal(size=(rows, 1))).float() + 0.3
    return context("regression", (), outputs, targets, target_mean=100.0, target_scale=10.0, **more)


def hostile(folder: Path, more: dict[str, Any] | None = None) -> Run:
    """A run in which everything that comes from outside carries markup; `more` is further evidence by name."""
    bad = f"{SCRIPT}{IMAGE}"
    made = classes(
        60,
        [f"a{SCRIPT}", f"b{IMAGE}", "c' onmouseover='x"],
        inputs=[f"{row} {bad}" for row in range(60)],
        origin=[f"{SCRIPT}{IMAGE}.csv, line {row}" for row in range(60)],
        source=f"/data/{IMAGE}",
        columns=(Column(bad, "text", bad), Column(bad, "target", bad)),
        findings=(Finding("x", "warning", bad, 3, (bad, bad)),),
        quarantined=1,
    )
    run = write_run(
        folder,
        made,
        {
            "probe": {"split": "test", "rows": {}, "of": {}, "figures": {"accuracy": {"value": 0.5}}},
            **(more or {}),
        },
        method=bad,
        model={"name": bad, "family": bad},
        notes=[bad],
        preflight=[bad],
        hooks=[bad],
        stopped=bad,
        provenance={"name": bad, "source": bad, "revision": bad, "licence": bad, "sha256": bad},
        baseline={"name": bad, "test": {"accuracy": {"value": 0.1, "low": 0.0, "high": 0.2}, bad: {"value": 1}}},
        phases=[_phase(bad, [bad, "head"]), _phase("all", ["block 0", bad])],
    )
    (folder / "quarantine.jsonl").write_text(json.dumps({"origin": bad, "reason": bad, "row": {bad: bad}}) + "\n")
    recipe = folder / "recipe.resolved.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8") + f"\n# {bad}\n", encoding="utf-8")
    return run
