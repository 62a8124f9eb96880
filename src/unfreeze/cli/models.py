"""`unfreeze models`: which pre-trained models can be taken."""

from __future__ import annotations

from typing import Any

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import table, words


def models(json: JSON = False) -> None:
    """List the families of models that can be taken."""
    from unfreeze.models.families import FAMILIES

    with only_document(json):
        families: list[tuple[str, Any]] = list(FAMILIES.items())
    if json:
        emit([_plain(name, family) for name, family in families])
        return
    rows = [
        (
            words(name, "bold"),
            family.modality,
            family.library,
            ", ".join(family.matches),
            f"{family.rates.fine_tuning:g}",
        )
        for name, family in families
    ]
    show(
        table("Families", ["family", "for", "library", "what it matches", "learning rate"], rows),
        words("A model is named by its Hub id, its timm name or a local folder. Without a name, or without a network,"),
        words("the embedded ones are taken: all-MiniLM-L6-v2 for text, and this project's small network for images."),
    )


def _plain(name: str, family: Any) -> dict[str, Any]:
    return {
        "name": name,
        "modality": family.modality,
        "library": family.library,
        "matches": list(family.matches),
        "rates": family.rates,
    }
