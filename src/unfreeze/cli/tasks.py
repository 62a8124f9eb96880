"""`unfreeze tasks`: what can be predicted."""

from __future__ import annotations

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, show
from unfreeze.cli.methods import NAME
from unfreeze.cli.tables import card_parts, cards_table


def tasks(name: NAME = None, json: JSON = False) -> None:
    """List the tasks, or show one in full."""
    from unfreeze.tasks import TASKS

    if name is not None:
        card = TASKS.get(name).card
        emit({"name": name, "card": card}) if json else show(*card_parts(name, card))
        return
    cards = [(key, task.card) for key, task in TASKS.items()]
    emit([{"name": key, "card": card} for key, card in cards]) if json else show(cards_table("Tasks", cards))
