"""`unfreeze compare`: runs side by side."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, only_document, show
from unfreeze.cli.tables import compare_parts, figure, table, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unfreeze.report.against import Against

RUNS = Annotated[list[str], typer.Argument(metavar="RUN...", help="folders of finished runs", show_default=False)]
HTML = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="write a page with figures, differences and curves")
]


def compare(runs: RUNS, html: HTML = None, json: JSON = False) -> None:
    """Show the test figures of several runs, best first, and whether they differ by more than chance."""
    from pathlib import Path

    from unfreeze import api
    from unfreeze.report.against import against_best
    from unfreeze.report.comparing import write_comparison

    with only_document(json):
        rows = api.compare(runs)
        ordered = [api.load(row["run"]) for row in rows]
        found = against_best(ordered, rows[0]["metric"]) if rows else []
        page = write_comparison(ordered, Path(html)) if html else None
    if json:
        told = zip_longest(rows, [None, *map(plain, found)])  # the best one is not compared with itself
        emit([{**row, "against_best": differences} for row, differences in told])
        return
    show(*compare_parts(rows), *difference_parts(found))
    if page is not None:
        show(words(f"Page: {page}", "bold"))


def plain(each: Against) -> dict[str, Any]:
    """A comparison for JSON: every metric's difference, best minus this run."""
    paired = each.paired
    differences = {} if paired is None else {name: vars(found) for name, found in paired.differences.items()}
    if each.difference is not None:
        differences[each.metric] = vars(each.difference)
    return {
        "best": each.best,
        "rows": 0 if paired is None else paired.rows,
        "same_test": paired is not None and paired.same_test,
        "differences": differences,
        "notes": list(each.notes),
    }


def difference_parts(found: Sequence[Against]) -> list[Any]:
    """Each run beside the best on the same test rows, and what weakens the comparison."""
    if not found:
        return []
    rows = [
        [each.run, each.paired.rows if each.paired else 0, _interval(each), _p(each), _detectable(each), _verdict(each)]
        for each in found
    ]
    metric = found[0].metric.replace("_", " ")
    headers = ["run", "rows", "difference (95 %)", "p", "smallest shown", "what it says"]
    title = f"{found[0].best} minus each other, in {metric}, on the same test rows"
    notes = [words(f"{each.run}: {note}.", "yellow") for each in found for note in each.notes]
    return [table(title, headers, rows, right=range(1, 5)), *notes]


def _interval(each: Against) -> str:
    told = each.difference
    return "" if told is None else f"{figure(told.value)} ({figure(told.low)} to {figure(told.high)})"


def _p(each: Against) -> str:
    return "" if each.difference is None else f"{each.difference.p:.3f}"


def _detectable(each: Against) -> str:
    return "" if each.difference is None else figure(each.difference.detectable)


def _verdict(each: Against) -> str:
    from unfreeze.report.comparing import verdict

    return verdict(each)
