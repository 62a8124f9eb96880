"""`unfreeze soup`: several runs' weights averaged into one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from unfreeze.cli._options import JSON, QUIET
from unfreeze.cli._output import emit, only_document, plain, show
from unfreeze.cli.tables import figure, result_parts, table, words
from unfreeze.progress import choose

RUNS = Annotated[list[str], typer.Argument(metavar="RUN...", help="folders of finished runs", show_default=False)]
OUTPUT = Annotated[
    str | None, typer.Option("--output", metavar="FOLDER", help="the new run; none: one in runs/", show_default=False)
]
GREEDY = Annotated[
    bool,
    typer.Option("--greedy", help="from the best run to the worst, those with which validation does not fall"),
]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="replace an existing run in that folder")]


def soup(
    runs: RUNS,
    output: OUTPUT = None,
    greedy: GREEDY = False,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
    json: JSON = False,
) -> None:
    """Average the weights of several runs of one model and the same data.

    The mean becomes a run of its own: scored, saved and proven like any other, and as fast.
    """
    from unfreeze import api

    with only_document(json):
        run = api.soup(runs, output, greedy=greedy, overwrite=overwrite, progress=choose(quiet=quiet, as_json=json))
    if json:
        emit({"run": run.path, "soup": run.soup, **plain(run.result)})
    else:
        show(*soup_parts(run.soup), *result_parts(run.result), words(f"Run: {run.path}", "bold"))


def soup_parts(soup: Mapping[str, Any]) -> list[Table | Text]:
    """The runs from the best to the worst on validation, and which of them the soup holds."""
    metric = str(soup["metric"]).replace("_", " ")
    rows = [
        [step["run"], figure(step["value"]), "yes" if step["taken"] else "no", figure(step["with_it"])]
        for step in soup["runs"]
    ]
    title = "Soup, greedy by validation" if soup["kind"] == "greedy" else "Soup of all runs"
    return [table(title, ["run", f"{metric} on validation", "taken", "of the soup with it"], rows, right=[1, 3])]
