"""The command line: one file per command. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import typer

from unfreeze import __version__
from unfreeze.cli._guard import guarded
from unfreeze.collector import leave_at_exit

COMMANDS = (
    "fit", "sweep", "plan", "inspect", "evaluate", "predict", "resume", "report", "next", "compare", "merge", "soup",
    "methods", "models", "tasks", "cache", "demo",
)  # fmt: skip
"""In the order of the help; each is the function of that name in the module of that name."""

QUIET_LIBRARIES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONWARNINGS": "ignore",
}
"""What libraries print would stand between the bars; a variable that is set already stays as it is."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 the user's input, 130 interrupted."""
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)
    words = list(sys.argv[1:] if arguments is None else arguments)
    leave_at_exit()
    return guarded(_app(), words)


def _app() -> typer.Typer:
    app = typer.Typer(
        name="unfreeze",
        help="Fine-tune a pre-trained text or image model on your own data.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    for name in COMMANDS:
        module = importlib.import_module(f"unfreeze.cli.{name}")
        app.command(name)(getattr(module, name))
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"unfreeze {__version__}")
        raise typer.Exit


def _common(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="show the version"),
    debug: bool = typer.Option(False, "--debug", help="show the stack trace of an unexpected failure (anywhere)"),
) -> None:
    """Fine-tune a pre-trained text or image model on your own data.

    A first job:  unfreeze fit reviews.csv     What it would do:  unfreeze plan reviews.csv
    """
