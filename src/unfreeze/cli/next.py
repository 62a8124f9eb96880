"""`unfreeze next`: what to do after a run."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import words

RUN = Annotated[str, typer.Argument(metavar="RUN", help="folder of a finished run", show_default=False)]


def next(run: RUN, json: JSON = False) -> None:
    """Say what to do next, in order of what it may gain, with the evidence in the run and the command to type."""
    from unfreeze import api
    from unfreeze.advice import advise
    from unfreeze.run import how_to_collect, missing_of

    with only_document(json):
        opened = api.load(run)
        found = advise(opened)
    if json:
        emit(
            [
                {
                    "name": advice.name,
                    "what": advice.what,
                    "why": advice.why,
                    "gain": advice.gain,
                    "changes": dict(advice.changes),
                    "command": advice.command(opened),
                }
                for advice in found
            ]
        )
        return
    if not found:
        show(words("Nothing in this run speaks for a particular next step."))
    unseen = missing_of(opened)
    if unseen:
        show(
            words(f"Not looked at: {', '.join(unseen)}. All evidence, however long it takes: {how_to_collect(opened)}")
        )
    for number, advice in enumerate(found, 1):
        show(words(f"{number}. {advice.what}", "bold"), words(f"   {advice.why}."))
        command = advice.command(opened)
        if command:
            show(words(f"   {command}", "cyan"))
