"""`unfreeze resume`: go on with a run that was interrupted."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON, QUIET
from unfreeze.cli._output import only_document
from unfreeze.cli.fit import show_run
from unfreeze.progress import choose

RUN = Annotated[str, typer.Argument(metavar="RUN", help="the folder of the run", show_default=False)]


def resume(run: RUN, quiet: QUIET = False, json: JSON = False) -> None:
    """Go on with an interrupted RUN.

    It continues at its last checkpoint and ends with the same weights as without the interruption.
    """
    from unfreeze import api

    with only_document(json):
        resumed = api.resume(run, progress=choose(quiet=quiet, as_json=json))
    show_run(resumed, json)
