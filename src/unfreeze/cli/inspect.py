"""`unfreeze inspect`: the audit of a data set."""

from __future__ import annotations

from unfreeze.cli._options import DATA_FLAGS, JSON, takes_recipe
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import inspect_parts
from unfreeze.recipe import Recipe


@takes_recipe(DATA_FLAGS, ())
def inspect(recipe: Recipe, json: JSON = False) -> None:
    """Audit DATA: columns, labels, splits, faults.

    DATA is read as fit would read it, and never changed.
    """
    from unfreeze import api

    with only_document(json):
        prepared = api.inspect_recipe(recipe)
    if json:
        emit({**prepared.manifest.to_dict(), "quarantine": prepared.quarantine})
    else:
        show(*inspect_parts(prepared))
