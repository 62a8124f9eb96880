"""`unfreeze methods`: the ways to fine-tune."""

from __future__ import annotations

from typing import Annotated

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, show
from unfreeze.cli.tables import card_parts, cards_table, settings_parts

NAME = Annotated[str | None, typer.Argument(metavar="NAME", help="show this one in full", show_default=False)]


def methods(name: NAME = None, json: JSON = False) -> None:
    """List the methods, or show one in full."""
    from unfreeze._options import rows
    from unfreeze.methods import METHODS

    if name is not None:
        bare = name.split(":")[0]
        method = METHODS.get(bare)
        settings = (
            []
            if method.options is None
            else [
                {"name": key, "takes": takes, "default": default, "help": help}
                for key, takes, default, help in rows(method.options, "")
            ]
        )
        if json:
            emit({"name": bare, "card": method.card, "settings": settings})
        else:
            show(*card_parts(bare, method.card), *settings_parts(settings))
        return
    cards = [(f"{key}:{entry.argument}" if entry.argument else key, entry.card) for key, entry in METHODS.items()]
    emit([{"name": key, "card": card} for key, card in cards]) if json else show(cards_table("Methods", cards))
