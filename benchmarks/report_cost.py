"""What a run's report costs in the benchmark's jobs, and which kinds of evidence it lacks for want of time.

    UNFREEZE_REAL_DATA=… python benchmarks/report_cost.py [JOB …] [--into docs/report.md]

unfreeze's side of each job in its default size, once, in a fresh process. To be run on a quiet machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bench.jobs import JOBS, Job
from bench.run import Wish, machine, one_run, prepared
from bench.sides import OURS, REPORT
from pages import say, table

KEYS = ("1", "2", "3", "4", "5", "6", "7", "11l")


def measured(job: Job, known: dict[str, Any]) -> dict[str, Any]:
    """What the worker tells of one run."""
    wish = Wish([job], runs=1, quick=False, rows=None, sides=[OURS.key], missing=False)
    found = one_run(job, OURS.key, 0, wish, prepared(job, quick=False), known)
    if found["status"] != "ok":
        raise SystemExit(f"job {job.key}: {found['error']}")
    return found


def cells(job: Job, record: dict[str, Any]) -> list[str]:
    """One line of the table."""
    rest, report = record["total_seconds"], record["parts"][REPORT]
    lacks = ", ".join(record["left_out"]) or "nothing"
    return [f"{job.key}. {job.title}", lacks, f"{job.rows:,}", f"{rest:.1f}", f"{report:.1f}", f"{report / rest:.1%}"]


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", default=KEYS, help="keys of jobs of `make bench`")
    parser.add_argument("--into", type=Path, help="a page with the marks of this table")
    asked = parser.parse_args()
    known, rows = machine(), []
    for job in (job for job in JOBS if job.key in asked.jobs):
        rows.append(cells(job, measured(job, known)))
        print(" | ".join(rows[-1]), flush=True)
    columns = ("job", "the report lacks", "rows", "the rest of the process, s", "the report, s", "beside the rest")
    say(["", f"{known['name']}, one run each.", "", *table(columns, rows, words=2), ""], "report cost", asked.into)


if __name__ == "__main__":
    main()
