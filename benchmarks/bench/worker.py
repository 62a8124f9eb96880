"""The fresh process of one run: `python -m bench.worker SPEC OUT`. Data are read before the clock starts."""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import importlib  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from bench.data import splits_of  # noqa: E402
from bench.jobs import JOBS, Job, sized  # noqa: E402
from bench.sides import SIDES  # noqa: E402
from bench.work import Told, Work  # noqa: E402

COUNTED = 20_000
"""Rows whose tokens are counted at most; of more rows, some."""


def main(spec: dict[str, Any]) -> dict[str, Any]:
    """Import the side, start the clock, let it work."""
    side, job = SIDES[spec["side"]], job_of(spec)
    splits = splits_of(job)
    importing = time.perf_counter()
    try:
        # Before whatever imports torchvision, whose compiled operators need not match the installed torch.
        importlib.import_module("unfreeze._torchvision")
        module = importlib.import_module(f"bench.sides.{side.module}")
        getattr(module, "imports", lambda job: None)(job)
    except Exception as error:  # whatever keeps a peer from being imported here is what the page says of it
        return {"status": "unavailable", "error": said(error)}
    place = spec["place"] or _encoder()
    work = Work(job, splits, spec["seed"], spec["bf16"], Path(place), Path(spec["folder"]), side.key, **side.options)
    started = time.perf_counter()
    told: Told = module.run(work)
    ended = time.perf_counter()
    counted = amount(job, splits)
    aside = importing - BEGAN + time.perf_counter() - ended
    return {
        "status": "ok",
        **told.to_dict(),
        "import_seconds": started - importing,
        "seconds": ended - started - told.report_seconds,
        "aside_seconds": aside + told.report_seconds,
        **_device(),
        "amount": counted,
    }


def job_of(spec: dict[str, Any]) -> Job:
    """The job that a spec names, in its size."""
    (job,) = (job for job in JOBS if job.key == spec["job"])
    return sized(job, quick=spec["quick"], rows=spec["rows"])


def _encoder() -> str:
    from unfreeze.models.embedded import minilm_folder

    return str(minilm_folder())


def _device() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "gpu_peak": gpu}


def amount(job: Job, splits: Any) -> dict[str, Any]:
    """What is counted per second: tokens (special ones included, padding not) of the rows read once, or images."""
    rows = splits.get("train") or splits["test"]
    if job.data == "flowers":
        return {"unit": "images", "count": len(rows)}
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_encoder())
    some = rows[:: -(-len(rows) // COUNTED)]
    found = tokenizer([text for text, _ in some], truncation=True, max_length=256)
    return {"unit": "tokens", "count": round(sum(map(len, found["input_ids"])) * len(rows) / len(some))}


def said(error: BaseException) -> str:
    """One line of an error."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


if __name__ == "__main__":
    try:
        result = main(json.loads(Path(sys.argv[1]).read_text()))
    except Exception as failure:
        traceback.print_exc()
        result = {"status": "failed", "error": said(failure)}
    Path(sys.argv[2]).write_text(json.dumps(result))
