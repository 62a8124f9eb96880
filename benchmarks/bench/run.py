"""Measure: the chosen jobs by all their sides in alternation, each run in a fresh process; results as JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.jobs import Job
from bench.machine import gains_from_bf16
from bench.measure import Measured, measure
from bench.sides import OURS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "bench"
CACHE = BUILD / "cache"
"""unfreeze's, of which what is known of the machine stays from run to run, and kept features do not."""
TIMEOUT = 3600.0
LAST_LINES = 5
BUSY = 0.1
"""Share of the processor time that other work takes during a run: above it the page says so."""


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line."""

    jobs: list[Job]
    runs: int
    quick: bool
    rows: int | None
    sides: list[str]
    missing: bool


def run(wish: Wish, results: Path) -> None:
    """Measure, writing the results after each run, so that a stopped measurement keeps what it has."""
    BUILD.mkdir(parents=True, exist_ok=True)
    found = read(results)
    found["machine"] = machine()
    print(f"{found['machine']['name']}: {found['machine']['cpu']}", flush=True)
    for job in wish.jobs:
        reason = lacking(job, found["machine"])
        found["skipped"] = {**found["skipped"], job.key: reason} if reason else without(found["skipped"], job.key)
        if reason is None:
            _job(job, wish, found, results)
        write(results, found)


def _job(job: Job, wish: Wish, found: dict[str, Any], results: Path) -> None:
    place = prepared(job, wish.quick)
    unavailable: set[str] = set()
    for seed, side in turns(job, wish):
        if side in unavailable or (wish.missing and known(found, job, side, seed)):
            continue
        record = one_run(job, side, seed, wish, place, found["machine"])
        found["records"] = [old for old in found["records"] if not same(old, job, side, seed)] + [record]
        write(results, found)
        print(line(record), flush=True)
        if record["status"] == "unavailable":
            unavailable.add(side)
    if job.data != "prediction" and (not wish.sides or OURS.key in wish.sides):
        found["floors"] = {**found["floors"], job.key: floor(job, wish, place)}


def turns(job: Job, wish: Wish) -> Iterator[tuple[int, str]]:
    """Seed by seed, side by side: in alternation, so that a slow hour of the machine hits all alike."""
    runs = min(wish.runs, job.most_runs or wish.runs)
    for seed in range(runs):
        for side in (OURS.key, *job.peers):
            if not wish.sides or side in wish.sides:
                yield seed, side


def one_run(job: Job, side: str, seed: int, wish: Wish, place: str, machine: dict[str, Any]) -> dict[str, Any]:
    """A fresh process that does the job once."""
    spec = {"job": job.key, "side": side, "seed": seed, "quick": wish.quick, "rows": wish.rows, "place": place}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
        spec |= {"folder": folder, "bf16": gains_from_bf16(machine)}
        told, took = in_process("bench.worker", spec, Path(folder))
    asked = {"rows": job.rows, "epochs": job.epochs, "batch": job.batch, "quick": wish.quick}
    record = {"job": job.key, "side": side, "seed": seed, "asked": asked, "commit": commit(), "others": took.others}
    # What the harness itself did in that process, reading tables and counting tokens, is no part of the job.
    whole = took.seconds - told.get("aside_seconds", 0.0)
    return record | {"total_seconds": whole, "peak": took.peak, "own_peak": took.own_peak} | told


def in_process(module: str, spec: dict[str, Any], folder: Path) -> tuple[dict[str, Any], Measured]:
    """`python -m module SPEC OUT` in a process of its own; what it wrote to OUT, or what went wrong."""
    given, out, log = folder / "spec.json", folder / "out.json", folder / "log"
    forget_features()
    given.write_text(json.dumps(spec))
    took = measure([sys.executable, "-m", module, str(given), str(out)], env=environment(), log=log, timeout=TIMEOUT)
    if out.exists() and took.returncode == 0:
        return dict(json.loads(out.read_text())), took
    reason = f"longer than {TIMEOUT:g} s" if took.timed_out else f"ended with {took.returncode}"
    last = " / ".join(log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:])
    return {"status": "failed", "error": f"{reason}: {last}"[:400]}, took


def forget_features() -> None:
    """Each run computes its own; what was measured of the machine stays."""
    for folder in CACHE.glob("*/"):
        shutil.rmtree(folder)


def environment() -> dict[str, str]:
    """No network, and nothing of a home folder's settings; threads as they are set outside."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": path, "WANDB_MODE": "disabled", "UNFREEZE_CACHE": str(CACHE)}


def lacking(job: Job, machine: dict[str, Any]) -> str | None:
    """Why a job cannot be run here."""
    import unfreeze

    if job.gpu and not machine.get("gpu"):
        return "it needs a GPU"
    there = job.needs is None or job.needs in unfreeze.__all__
    return None if there else f"unfreeze.{job.needs} does not exist yet"


def prepared(job: Job, quick: bool) -> str:
    """What has to be there before the clock starts: weights, or a finished run; "" for the embedded text model."""
    if job.data == "prediction":
        return made("run", BUILD / "prediction-run", again=True)
    if job.model.config:
        return made("text", BUILD / job.model.name)
    if job.model.made_here:
        return made("weights", BUILD / f"{job.model.name}.safetensors")
    return str(job.model.options.get("weights", ""))


def made(kind: str, place: Path, again: bool = False) -> str:
    """The place, filled by `bench.prepare` unless it is there already."""
    if again and place.exists():
        shutil.rmtree(place)
    if not place.exists():
        draft = place.parent / "draft" / place.name
        shutil.rmtree(draft.parent, ignore_errors=True)
        draft.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "bench.prepare", kind, str(draft)]
        subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)
        draft.replace(place)
    return str(place)


def floor(job: Job, wish: Wish, place: str) -> dict[str, Any]:
    """The operations that the plan needs at least."""
    spec = {"job": job.key, "quick": wish.quick, "rows": wish.rows, "place": place}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=BUILD) as folder:
        told, _ = in_process("bench.floor", {**spec, "folder": folder}, Path(folder))
    return told


def machine() -> dict[str, Any]:
    """The machine, described and measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.machine"], env=environment(), check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def commit() -> str:
    """The project's commit, with a plus sign when files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def same(record: dict[str, Any], job: Job, side: str, seed: int) -> bool:
    """Whether a record is of that run."""
    return (record["job"], record["side"], record["seed"]) == (job.key, side, seed)


def known(found: dict[str, Any], job: Job, side: str, seed: int) -> bool:
    """Whether that run has been measured, in this size."""
    size = (job.rows, job.epochs)
    return any(
        same(record, job, side, seed)
        and record["status"] == "ok"
        and (record["asked"]["rows"], record["asked"]["epochs"]) == size
        for record in found["records"]
    )


def line(record: dict[str, Any]) -> str:
    """One run on one line."""
    head = f"{record['job']:8} {record['side']:13} seed {record['seed']}"
    if record["status"] != "ok":
        return f"{head}  {record['status']}: {record['error']}"
    figures = "  ".join(f"{split} {record[split]:.3f}" for split in ("validation", "test") if record[split] is not None)
    peak = record["peak"] / 2**20
    return f"{head}  {record['seconds']:7.1f} s  whole {record['total_seconds']:7.1f} s  {peak:6.0f} MiB  {figures}"


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping without one key."""
    return {name: value for name, value in values.items() if name != key}


def read(results: Path) -> dict[str, Any]:
    """What has been measured on this machine so far."""
    empty: dict[str, Any] = {"machine": {}, "records": [], "floors": {}, "skipped": {}}
    return {**empty, **json.loads(results.read_text())} if results.exists() else empty


def write(results: Path, found: dict[str, Any]) -> None:
    """Replace the results at once."""
    results.parent.mkdir(parents=True, exist_ok=True)
    found["written"] = time.strftime("%Y-%m-%d")
    draft = results.with_suffix(".tmp")
    draft.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    draft.replace(results)
