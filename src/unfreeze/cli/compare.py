"""`unfreeze compare`: runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import compare_parts

RUNS = Annotated[list[str], typer.Argument(metavar="RUN...", help="folders of finished runs", show_default=False)]


def compare(runs: RUNS, json: JSON = False) -> None:
    """Show the test figures of several runs, best first."""
    from unfreeze import api

    with only_document(json):
        rows = api.compare(runs)
    if json:
        emit(rows)
    else:
        show(*compare_parts(rows))
