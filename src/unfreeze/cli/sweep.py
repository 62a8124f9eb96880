"""`unfreeze sweep`: many heads trained together, and the best of them made a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from unfreeze.cli._options import JSON, QUIET, takes_recipe
from unfreeze.cli._output import emit, only_document, plain, show
from unfreeze.cli.tables import figure, result_parts, table, words
from unfreeze.grid import read_asked
from unfreeze.progress import choose, counted
from unfreeze.recipe import Recipe

RATES = Annotated[
    str | None,
    typer.Option(
        "--rates",
        metavar="A,B,…",
        help="highest learning rates of the head; none: 0.1, 0.3, 1 and 3 times training.head_lr",
        show_default=False,
    ),
]
DECAYS = Annotated[
    str | None,
    typer.Option(
        "--decays", metavar="A,B,…", help="weight decays; none: 0 and training.weight_decay", show_default=False
    ),
]
SEEDS = Annotated[str, typer.Option("--seeds", metavar="COUNT", help="how many, counted up from --seed")]


@takes_recipe(switches=("overwrite",))
def sweep(
    recipe: Recipe,
    rates: RATES = None,
    decays: DECAYS = None,
    seeds: SEEDS = "4",
    quiet: QUIET = False,
    json: JSON = False,
) -> None:
    """Train heads with many rates, weight decays and seeds together on frozen features.

    The best by validation becomes a run, as `unfreeze fit --method head` would have made it.
    """
    read_asked(rates, decays, seeds)
    from unfreeze import api

    with only_document(json):
        run = api.sweep_recipe(
            recipe, rates=rates, decays=decays, seeds=seeds, progress=choose(quiet=quiet, as_json=json)
        )
    if json:
        emit({"run": run.path, "sweep": run.sweep, **plain(run.result)})
    else:
        show(*sweep_parts(run.sweep), *result_parts(run.result), words(f"Run: {run.path}", "bold"))


def sweep_parts(sweep: Mapping[str, Any]) -> list[Table | Text]:
    """Every configuration on validation, the best first, and which head was kept."""
    metric, best = sweep["metric"].replace("_", " "), sweep["best"]
    headers = ["head_lr", "weight_decay", f"{metric}, mean", "spread", "best epoch"]
    rows = [
        [f"{row['head_lr']:g}", f"{row['weight_decay']:g}", _mean(row), figure(row["spread"]), _epochs(row)]
        for row in sweep["table"]
    ]
    counts = counted(len(sweep["table"][0]["seeds"]), "seed")
    title = f"Heads on validation, best first ({counts} each)"
    kept = (
        f"Kept: head_lr {best['head_lr']:g}, weight_decay {best['weight_decay']:g}, seed {best['seed']}, with {metric} "
        f"{figure(best['value'])} after epoch {best['epoch']}: the best of {counted(sweep['heads'], 'head')} by "
        "validation alone."
    )
    return [table(title, headers, rows, right=range(len(headers))), words(kept)]


def _mean(row: Mapping[str, Any]) -> Text:
    return words("diverged", "yellow") if row["mean"] is None else words(figure(row["mean"]))


def _epochs(row: Mapping[str, Any]) -> str:
    """ "4" or "3 to 9", of the seeds."""
    epochs = [seed["best_epoch"] for seed in row["seeds"] if "best_epoch" in seed]
    if not epochs:
        return ""
    return f"{epochs[0]}" if min(epochs) == max(epochs) else f"{min(epochs)} to {max(epochs)}"
