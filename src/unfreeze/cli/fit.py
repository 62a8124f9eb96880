"""`unfreeze fit`: fine-tune a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.cli._options import JSON, QUIET, takes_recipe
from unfreeze.cli._output import emit, only_document, plain, show
from unfreeze.cli.tables import result_parts, words
from unfreeze.progress import choose
from unfreeze.recipe import Recipe

if TYPE_CHECKING:
    from unfreeze.run import Run


@takes_recipe()
def fit(recipe: Recipe, quiet: QUIET = False, json: JSON = False) -> None:
    """Fine-tune a model on DATA, or as a RECIPE says.

    Flags override the recipe. Ctrl-C leaves a run that `unfreeze resume` goes on with.
    """
    fit_and_show(recipe, quiet, json)


def fit_and_show(recipe: Recipe, quiet: bool, as_json: bool) -> None:
    """Fit with progress, then show the results and where the run is."""
    from unfreeze import api

    with only_document(as_json):
        run = api.fit_recipe(recipe, progress=choose(quiet=quiet, as_json=as_json))
    show_run(run, as_json)


def show_run(run: Run, as_json: bool) -> None:
    """The results of a finished run."""
    if as_json:
        emit({"run": run.path, **plain(run.result)})
        return
    show(*result_parts(run.result), words(f"Run: {run.path}", "bold"))
