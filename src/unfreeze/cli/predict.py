"""`unfreeze predict`: what a run says about new data."""

from __future__ import annotations

import csv
import json as json_format
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unfreeze.cli._options import JSON
from unfreeze.cli._output import emit, note, only_document, plain, show
from unfreeze.cli.evaluate import PRECISION, RUN
from unfreeze.cli.tables import predictions_table, words
from unfreeze.errors import RunError
from unfreeze.progress import counted

if TYPE_CHECKING:
    from unfreeze.evaluation.calibration import Step

FILE = Annotated[
    str, typer.Argument(metavar="FILE", help="a table, an image or a folder of images", show_default=False)
]
OUTPUT = Annotated[
    Path | None,
    typer.Option(
        "--output",
        metavar="FILE",
        help="write all to a .csv or .jsonl file; in .csv a ' is put before what a spreadsheet would run as formula",
        show_default=False,
    ),
]

ERROR_RATE = Annotated[
    float | None,
    typer.Option(
        "--error-rate",
        metavar="RATE",
        help="abstain where the model is not sure enough for so few errors, such as 0.02; the best guess stands beside",
        show_default=False,
    ),
]
UNCALIBRATED = Annotated[
    bool, typer.Option("--uncalibrated", help="probabilities as the model gives them, without the run's temperature")
]

MOST_SHOWN = 20

FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def predict(
    run: RUN,
    file: FILE,
    output: OUTPUT = None,
    precision: PRECISION = "auto",
    error_rate: ERROR_RATE = None,
    uncalibrated: UNCALIBRATED = False,
    json: JSON = False,
) -> None:
    """Predict with RUN for every row of FILE."""
    if output is not None and output.suffix.lower() not in {".csv", ".jsonl"}:
        raise RunError(f"--output must end in .csv or .jsonl. Got '{output}' instead.")
    if output is not None:
        _refuse(output, file)
    from unfreeze import api

    with only_document(json):
        opened = api.load(run)
        rows, left_out = opened.predict_all(
            file, precision=precision, calibrated=not uncalibrated, error_rate=error_rate
        )
        kept = None if error_rate is None else opened.threshold(error_rate)
    if output is not None:
        _write(rows, output)
    if left_out:
        first = f"{left_out[0].origin}: {left_out[0].reason}"
        note(f"{counted(len(left_out), 'row')} left out, with no prediction; for instance {first}")
    if kept is not None:
        note(_abstained(rows, kept))
    if json:
        emit(rows)
        return
    shown = [_shown(row) for row in rows] if output is None else []
    if shown:
        show(predictions_table(shown[:MOST_SHOWN]))
    if len(shown) > MOST_SHOWN:
        show(words(f"{len(rows) - MOST_SHOWN:,} more: --output writes all to a file, --json prints them."))
    if output is not None:
        show(words(f"{len(rows):,} predictions: {output}"))


def _abstained(rows: Sequence[Mapping[str, Any]], step: Step) -> str:
    """How many rows are left without a prediction, and what the threshold did to rows whose truth is known."""
    silent = sum(row["prediction"] is None for row in rows)
    known = [("validation", step.coverage, step.error), ("test", step.test_coverage, step.test_error)]
    told = [
        f"{coverage:.1%} of the {split} rows were answered"
        + ("" if error is None else f", {error:.1%} of them wrongly")
        for split, coverage, error in known
        if coverage is not None
    ]
    return (
        f"{silent:,} of {counted(len(rows), 'row')} without a prediction: the model is less than {step.threshold:.3f} "
        f"sure of them. At this threshold {'; '.join(told)}"
    )


def _shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as the table shows it: a dash where the model abstains, and percentiles as whole numbers."""
    shown = dict(row)
    if row.get("prediction", "") is None:
        shown["prediction"] = "–"
    if isinstance(row.get("ood_percentile"), float):
        shown["ood_percentile"] = f"{row['ood_percentile']:.0f}"
    return shown


def _refuse(output: Path, file: str) -> None:
    """Say before any work what cannot be written after it."""
    try:
        if not output.parent.is_dir():
            raise RunError(f"There is no folder '{output.parent}' to write '{output.name}' in.")
        same = output.exists() and Path(file).exists() and output.samefile(file)
    except OSError as error:
        raise RunError(f"{output} cannot be written ({error.strerror or error}).") from None
    if same:
        raise RunError(f"--output would replace the data '{file}': choose another file.")


def _write(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                file.writelines(json_format.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)
                return
            flat = [_flat(row) for row in rows]
            writer = csv.DictWriter(file, list(dict.fromkeys(name for row in flat for name in row)))
            writer.writeheader()
            writer.writerows({name: _harmless(value) for name, value in row.items()} for row in flat)
    except OSError as error:
        raise RunError(f"{path} cannot be written ({error.strerror or error}).") from None


def _harmless(value: Any) -> Any:
    """A text that begins as a formula with an apostrophe before it; numbers, also those written as texts, as they are.

    Source: OWASP, CSV Injection. Spreadsheet programs run such cells when they open the file.
    """
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Nested figures as columns of their own: `probabilities.cat`."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": item for inner, item in value.items()})
        else:
            flat[name] = json_format.dumps(plain(value)) if isinstance(value, (list, tuple)) else value
    return flat
