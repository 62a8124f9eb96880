"""`unfreeze merge`: an adapter is folded into its base."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import merged_parts

RUN = Annotated[str, typer.Argument(metavar="RUN", help="the folder of a run with an adapter", show_default=False)]
OUTPUT = Annotated[
    str | None, typer.Option("--output", metavar="FOLDER", help="the new run; none: RUN-merged", show_default=False)
]
OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="replace an existing run in that folder")]


def merge(run: RUN, output: OUTPUT = None, overwrite: OVERWRITE = False, json: JSON = False) -> None:
    """Fold what RUN's adapter learned into its base: a new run with a plain model and the same predictions.

    The new folder predicts and is fine-tuned further without the base. A fresh process must reproduce the outputs.
    In it, transformers/ or timm/ holds the model as that library reads it.
    """
    from unfreeze import api

    with only_document(json):
        merged = api.merge(run, output, overwrite=overwrite)
    if json:
        emit({"run": merged.path, "gate": merged.result["gate"], "notes": merged.result.get("notes", [])})
    else:
        show(*merged_parts(merged))
