"""Write docs/examples/terminal.md and docs/plan.svg: what the terminal shows for plan, fit and an error.

    python docs/make_examples.py

Commands run in a temporary folder on the data of the demonstration, with the embedded text model.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from unfreeze.cli.tables import plan_summary, plan_table
from unfreeze.demo.stdlib_docstrings import write_csv

DOCS = Path(__file__).parent
WIDTH = 110

PLAN = "unfreeze plan docstrings.csv --group module --method gradual:4 --epochs 4"
FIT = "unfreeze fit docstrings.csv --group module --method last:2 --epochs 4 --output runs/first"
ERROR = "unfreeze fit docstrings.csv --method gradul --epochs -1 --set training.optimiser=adamw"

INTRODUCTION = """\
# What the terminal shows

Written by `python docs/make_examples.py`. Progress is shown here as the lines that a log gets; a terminal shows bars.
"""


def terminal(command: str, folder: Path) -> str:
    """A command with everything that it printed and its exit code, as a Markdown block."""
    words = [sys.executable, "-m", "unfreeze.cli", *shlex.split(command)[1:]]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    shown = "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())
    return f"```\n$ {command}\n{shown}\n$ echo $?\n{done.returncode}\n```\n"


def picture(folder: Path) -> str:
    """The plan table as SVG."""
    from unfreeze import api
    from unfreeze.cli._options import recipe_of

    flags: dict[str, str | None] = {"group": "module", "method": "gradual:4", "epochs": "4"}
    made = api.plan_recipe(recipe_of(str(folder / "docstrings.csv"), flags, [], []))
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ {PLAN}\n", style="bold"), plan_table(made), *plan_summary(made), sep="\n")
    return console.export_svg(title="unfreeze plan")


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_csv(folder / "docstrings.csv")
        parts = [INTRODUCTION, "## A plan\n", terminal(PLAN, folder), "## A fit\n", terminal(FIT, folder)]
        parts += ["## An error\n", terminal(ERROR, folder)]
        (DOCS / "examples" / "terminal.md").write_text("\n".join(parts), encoding="utf-8")
        (DOCS / "plan.svg").write_text(picture(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
