"""`unfreeze demo`: a real model, real data, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unfreeze.cli._options import JSON, QUIET
from unfreeze.cli._output import show
from unfreeze.cli.fit import fit_and_show
from unfreeze.cli.tables import words
from unfreeze.errors import UserError, nearest
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import with_values

WHICH = Annotated[str, typer.Argument(metavar="[text|images]", help="which demonstration")]
FOLDER = Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="where data and runs are written")]

METHOD = "lp-ft"
"""Shows both: a head on frozen features, which takes seconds, and all layers, which take longer and gain."""

EPOCHS = 4
"""Two of the head, two of all layers: enough to see the gain, short enough to watch."""

ABOUT = {
    "text": "Docstrings of this Python's standard library; to predict: the section of its documentation.",
    "images": "Handwritten digits; to predict: the digit.",
}


def demo(which: WHICH = "text", folder: FOLDER = Path("runs/demo"), quiet: QUIET = False, json: JSON = False) -> None:
    """Fine-tune an embedded model on real data.

    The data are made on the spot; nothing is downloaded.
    """
    if which not in ABOUT:
        raise UserError(f"There is no demonstration '{which}'. {nearest(which, ABOUT)}")
    if not (quiet or json):
        show(words(ABOUT[which]))
    fit_and_show(_text(folder) if which == "text" else _images(folder), quiet, json)


def _text(folder: Path) -> Recipe:
    from unfreeze.demo.stdlib_docstrings import write_csv

    data = write_csv(folder / "docstrings.csv")
    return with_values(
        Recipe(),
        {
            "data.path": data,
            "data.text": "text",
            "data.target": "label",
            "data.group": "module",
            "method.name": METHOD,
            "training.epochs": EPOCHS,
            "output.folder": _free(folder, "text"),
        },
    )


def _images(folder: Path) -> Recipe:
    from unfreeze.demo.digits import write_folder

    data = write_folder(folder / "digits")
    return with_values(
        Recipe(),
        {
            "data.path": data,
            "method.name": METHOD,
            "model.image_size": 32,  # what the network was pre-trained on, and four times the digits' own size
            "training.augment": [],  # a digit of 8 pixels loses strokes when it is cropped
            "output.folder": _free(folder, "images"),
        },
    )


def _free(folder: Path, name: str) -> Path:
    """The first of text-1, text-2, … that does not exist yet."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"
