"""`unfreeze evaluate`: score a run on further labelled data."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import scores_parts

RUN = Annotated[str, typer.Argument(metavar="RUN", help="the folder of a finished run", show_default=False)]
DATA = Annotated[str, typer.Argument(metavar="DATA", help="labelled data of the same form", show_default=False)]


PRECISION = Annotated[
    str, typer.Option("--precision", help="arithmetic: auto (what this machine is fast in), bf16 or float32")
]


def evaluate(run: RUN, data: DATA, precision: PRECISION = "auto", json: JSON = False) -> None:
    """Score RUN on labelled DATA, with 95 % intervals."""
    from unfreeze import api

    with only_document(json):
        scores = api.load(run).evaluate(data, precision=precision)
    if json:
        emit(scores)
    else:
        show(*scores_parts(scores))
