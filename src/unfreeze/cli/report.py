"""`unfreeze report`: write a run's report again."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON, QUIET
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import words
from unfreeze.progress import choose

RUN = Annotated[str, typer.Argument(metavar="RUN", help="the folder of a finished run", show_default=False)]
AGAIN = Annotated[
    bool, typer.Option("--again", help="collect the evidence anew too, all of it: the data are read, the model is run")
]


def report(run: RUN, again: AGAIN = False, quiet: QUIET = False, json: JSON = False) -> None:
    """Write RUN/report.html again from what the run's folder holds: one page that needs no network and no script."""
    from unfreeze import api

    with only_document(json):
        page = api.write_report(run, again=again, progress=choose(quiet=quiet or not again, as_json=json))
    if json:
        emit({"run": run, "report": page})
    else:
        show(words(f"Report: {page}", "bold"))
