"""Measure unfreeze beside its peers, and write the page.

python -m bench run [PART …] [--runs 3] [--quick] [--full] [--rows N] [--side NAME …] [--missing]
python -m bench write

`run` writes the page too. Quick results and their page go to build/bench/, and count for nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sets import ROOT as ROOT_OF_DATA

from bench.jobs import chosen
from bench.page import write as write_page
from bench.run import BUILD, HERE, ROOT, Wish, machine, run
from bench.sides import SIDES

RESULTS = HERE / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
RUNS = 3


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "write"))
    parser.add_argument("parts", nargs="*", help="numbers of parts, or keys of jobs; none: all")
    parser.add_argument("--runs", type=int, help=f"seeds for each side; {RUNS}, and 1 when quick")
    parser.add_argument("--rows", type=int, help="training rows of the jobs 1 to 7")
    parser.add_argument("--side", action="append", default=[], choices=sorted(SIDES), help="only these sides")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--full", action="store_true", help="the million rows too")
    parser.add_argument("--missing", action="store_true", help="only what is not measured yet in this size")
    asked = parser.parse_args()
    if asked.what == "write":
        write_page(sorted(RESULTS.glob("*.json")), PAGE)
        return
    if not (ROOT_OF_DATA / "data").is_dir():
        parser.error(
            f"UNFREEZE_REAL_DATA has to name a folder that holds data/ and weights/; it names '{ROOT_OF_DATA}'"
        )
    try:
        jobs = chosen(asked.parts, full=asked.full, quick=asked.quick, rows=asked.rows)
    except ValueError as error:
        parser.error(str(error))
    runs = asked.runs or (1 if asked.quick else RUNS)
    wish = Wish(jobs, runs, asked.quick, asked.rows, asked.side, asked.missing)
    file = (BUILD if asked.quick else RESULTS) / f"{machine()['name']}.json"
    run(wish, file)
    page = BUILD / "benchmarks.md" if asked.quick else PAGE
    write_page([file] if asked.quick else sorted(RESULTS.glob("*.json")), page)
    print(f"written: {shown(file)}, {shown(page)}")


def shown(path: Path) -> Path:
    """Relative to the project where it lies in it."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    main()
