"""`unfreeze plan`: everything that fit would do, without training."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unfreeze.cli._options import JSON, QUIET, takes_recipe
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import forecast_parts, plan_summary, plan_table, reasons_table
from unfreeze.progress import choose
from unfreeze.recipe import Recipe

DUMP = Annotated[
    bool, typer.Option("--dump-phases", help="write the method's phases as YAML, to edit and put in a recipe")
]


@takes_recipe()
def plan(recipe: Recipe, dump_phases: DUMP = False, quiet: QUIET = False, json: JSON = False) -> None:
    """Show what fit would do, without training.

    The layer groups, which of them learn when and how fast, what memory and time that takes, and every default with its
    reason.
    """
    from unfreeze import api

    with only_document(json or dump_phases):
        made = api.plan_recipe(recipe, progress=choose(quiet=quiet or dump_phases, as_json=json))
    if dump_phases:
        from unfreeze.methods import dump_phases as dump

        typer.echo(dump(made.phases), nl=False)
    elif json:
        emit(_document(made))
    else:
        forecast = forecast_parts(made.forecast) if made.forecast is not None else ()
        show(plan_table(made), *plan_summary(made), *forecast, reasons_table(made))


FIELDS = (
    "recipe",
    "reasons",
    "phases",
    "layers",
    "notes",
    "preflight",
    "replay",
    "tuning",
    "forecast",
    "steps_per_epoch",
    "total_parameters",
)


def _document(made: Any) -> dict[str, Any]:
    """The plan without the loaded model."""
    return {name: getattr(made, name) for name in FIELDS} | {"manifest": made.manifest.to_dict()}
