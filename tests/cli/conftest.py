"""A stand-in for the api, so that what the command line does with it is seen without any training."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import unfreeze
from unfreeze.advice import Advice
from unfreeze.data.manifest import Column, Finding, Manifest, Prepared, Quarantined
from unfreeze.methods import Phase
from unfreeze.recipe import DataRecipe, Recipe

EVIL = "[red]x[/red]\x1b[31m\x07‮"


@dataclass
class Layer:
    name: str
    parameters: int
    learns: dict[int, float]


@dataclass
class Moment:
    name: str = f"learning in {EVIL}"
    bytes: int = 10**6
    parts: dict[str, int] = field(default_factory=lambda: {f"weights of {EVIL}": 10**6})


@dataclass
class Time:
    name: str = f"phase {EVIL}"
    updates: int = 10
    seconds: dict[str, float] = field(default_factory=lambda: {"updates": 12.5})


@dataclass
class Forecast:
    device: str = "cpu"
    peak: Moment = field(default_factory=Moment)
    seconds: float = 12.5
    phases: list[Time] = field(default_factory=lambda: [Time()])


@dataclass
class FakePlan:
    recipe: Recipe
    phases: tuple[Phase, ...]
    layers: list[Layer]
    manifest: Manifest
    reasons: dict[str, str] = field(default_factory=lambda: {"training.epochs": f"because {EVIL}"})
    notes: list[str] = field(default_factory=lambda: ["a note"])
    preflight: list[str] = field(default_factory=lambda: [f"row 1 → {EVIL}"])
    replay: list[str] = field(default_factory=lambda: [f"top 1: kept for {EVIL}"])
    tuning: list[str] = field(default_factory=lambda: [f"beside {EVIL}"])
    forecast: Forecast = field(default_factory=Forecast)
    steps_per_epoch: int = 10
    total_parameters: int = 111


SWEEP: dict[str, Any] = {
    "metric": "macro_f1",
    "heads": 4,
    "best": {"head_lr": 0.003, "weight_decay": 0.01, "seed": 8, "epoch": 4, "value": 0.8125},
    "table": [
        {"head_lr": 0.003, "weight_decay": 0.01, "mean": 0.75, "spread": 0.125,
         "seeds": [{"seed": 7, "value": 0.6875, "best_epoch": 9}, {"seed": 8, "value": 0.8125, "best_epoch": 4}]},
        {"head_lr": 3.0, "weight_decay": 0.01, "mean": None, "spread": None,
         "seeds": [{"seed": 7, "value": 0.25, "best_epoch": 2}, {"seed": 8, "diverged_in_epoch": 1}]},
    ],
}  # fmt: skip


@dataclass
class FakeRun:
    path: Path
    result: dict[str, Any]
    sweep: dict[str, Any] = field(default_factory=lambda: SWEEP)
    recipe: Recipe = field(default_factory=lambda: Recipe(data=DataRecipe(path="data.csv")))
    evidence: dict[str, Any] = field(default_factory=lambda: {"collected": {"missing": {f"probe {EVIL}": "no time"}}})

    def predict_all(self, source: Any, **options: Any) -> tuple[list[dict[str, Any]], tuple[Quarantined, ...]]:
        rows = [{"origin": f"{source}, row {row}", "prediction": EVIL, "probabilities": {EVIL: 0.75, "b": 0.25}}
                for row in range(30)]  # fmt: skip
        return rows, (Quarantined(f"{source}, row 31", f"empty {EVIL}"),)

    def threshold(self, error_rate: float) -> Any:
        from unfreeze.evaluation.calibration import Step

        return Step(rate=error_rate, threshold=0.75, coverage=0.5, error=0.0)

    def evaluate(self, source: Any, precision: str = "auto") -> dict[str, Any]:
        figures = {"accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}}
        return {"rows": 4, "left_out": [{"origin": f"{source}, row 9", "reason": "empty"}], "metrics": figures}


RESULT: dict[str, Any] = {
    "status": "finished",
    "task": "classification",
    "metric": "accuracy",
    "test": {
        "accuracy": {"value": 0.9123, "low": 0.88, "high": 0.94},
        "f1": {"value": float("nan"), "low": None, "high": None},
    },
    "validation": {},
    "baseline": {"name": "majority class", "test": {"accuracy": 0.25}},
    "seconds": 12.5,
    "gate": {"rows": 64, "difference": 0.0, "tolerance": 1e-4, "process": "fresh", "tensors": 101,
             "state": "identical", "passed": True},
    "method": "head",
}  # fmt: skip


def manifest() -> Manifest:
    return Manifest(
        source="data.csv",
        modality="text",
        task="classification",
        task_reason="few different texts",
        columns=(Column("text", "text", f"long {EVIL}"),),
        labels=(EVIL, "b"),
        rows={"train": 8, "validation": 2, "test": 2},
        counts={"train": {EVIL: 4, "b": 4}},
        split_reason="by seed",
        fingerprint="0" * 64,
        findings=(Finding("leak", "warning", f"found {EVIL}", 2, (EVIL,)),),
        quarantined=1,
    )


def a_plan(recipe: Recipe, phases: int = 2) -> FakePlan:
    made = [Phase(name="probe", learn=("head",), epochs=2)]
    made += [Phase(name="all", learn=("block", "head"), epochs=1) for _ in range(phases - 1)]
    late = dict.fromkeys(range(1, phases), 2e-05)
    layers = [
        Layer("stem", 1, {}),
        Layer("block", 10, late),
        Layer("head", 100, dict.fromkeys(range(phases), 0.001)),
    ]
    return FakePlan(recipe, tuple(made), layers, manifest())


class Stub(ModuleType):
    """Remembers the recipe and progress that it was called with; `error` is raised instead of fitting."""

    recipe: Recipe
    progress: Any = None
    error: BaseException | None = None
    chatter = ""
    tried: dict[str, Any]

    def fit_recipe(self, recipe: Recipe, progress: Any = None) -> FakeRun:
        self.recipe = recipe
        if self.chatter:
            print(self.chatter)
        if self.error is not None:
            raise self.error
        return FakeRun(Path("runs/fake-1"), RESULT)

    def sweep_recipe(self, recipe: Recipe, progress: Any = None, **tried: Any) -> FakeRun:
        self.tried = tried
        return self.fit_recipe(recipe, progress)

    def plan_recipe(self, recipe: Recipe, progress: Any = None) -> FakePlan:
        self.recipe, self.progress = recipe, progress
        return a_plan(recipe)

    def inspect_recipe(self, recipe: Recipe) -> Prepared:
        self.recipe = recipe
        return Prepared(manifest(), {}, (Quarantined("data.csv, line 3", f"empty {EVIL}", {}),))

    def load(self, path: str) -> FakeRun:
        return FakeRun(Path(path), RESULT)

    def merge(self, path: str, output: str | None = None, *, overwrite: bool = False) -> FakeRun:
        return FakeRun(Path(output or f"{path}-merged"), RESULT)

    def resume(self, path: str, progress: Any = None) -> FakeRun:
        return FakeRun(Path(path), RESULT)

    def write_report(self, path: str, **options: Any) -> Path:
        return Path(path) / "report.html"

    def compare(self, paths: list[str]) -> list[dict[str, Any]]:
        row = {"model": "m", "method": "head", "metric": "accuracy", "test": RESULT["test"], "learned_share": 0.5}
        return [{"run": path, "seconds": 3.0, "same_test": False, **row} for path in paths]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Stub:
    stub = Stub("unfreeze.api")
    monkeypatch.setitem(sys.modules, "unfreeze.api", stub)
    monkeypatch.setitem(unfreeze.__dict__, "api", stub)
    # What compares runs row by row reads their folders, which are not there.
    monkeypatch.setattr("unfreeze.advice.advise", lambda run: [Advice(f"do {EVIL}", "since", 0.1, {"seed": 1}, "one")])
    monkeypatch.setattr("unfreeze.report.against.against_best", lambda runs, metric: [])
    monkeypatch.setattr("unfreeze.report.comparing.write_comparison", lambda runs, path: path)
    return stub
