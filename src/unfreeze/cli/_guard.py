"""How every command ends: one clear message and an exit code, never a stack trace that nobody asked for."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import typer

from unfreeze.errors import Interrupted, RecipeError, UnfreezeError
from unfreeze.progress import printable

UsageError: Any = typer.BadParameter.__base__
"""typer carries its own copy of click, or uses click, depending on its version."""

USER, FAILED, INTERRUPTED = 2, 1, 130


def guarded(app: Callable[..., Any], words: list[str]) -> int:
    """Run `app` on the words of the command line and return the exit code.

    `--debug` is understood anywhere. With `--json` messages are JSON on standard error.
    """
    options = words[: words.index("--")] if "--" in words else words
    as_json, debug = "--json" in options, "--debug" in options
    words = [word for index, word in enumerate(words) if word != "--debug" or index >= len(options)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = app(args=words, prog_name="unfreeze", standalone_mode=False)
        if code == INTERRUPTED:  # some versions of typer turn Ctrl-C into this exit
            return _end(typer.Abort(), as_json)
        return code if isinstance(code, int) else 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _end(error, as_json)
    except KeyboardInterrupt:
        return _end(typer.Abort(), as_json)


def _end(error: Exception, as_json: bool) -> int:
    if isinstance(error, UnfreezeError):
        problems = list(error.problems) if isinstance(error, RecipeError) else [str(error)]
        return _say(error.exit_code, type(error).__name__, problems, as_json, calm=isinstance(error, Interrupted))
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        hint = f"Try '{context.command_path} --help'." if context is not None else "Try 'unfreeze --help'."
        return _say(USER, "UsageError", [error.format_message(), hint] if error.format_message() else [], as_json)
    if isinstance(error, typer.Abort):
        return _say(
            INTERRUPTED, "Interrupted", ["Interrupted. Training had not begun; there is nothing to resume."], as_json
        )
    if isinstance(error, BrokenPipeError):
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115  (the interpreter flushes it at exit)
        return FAILED
    return _say(FAILED, type(error).__name__, _unexpected(error), as_json)


def _unexpected(error: Exception) -> list[str]:
    """What it was in one line, and where the whole stands."""
    what = str(error).strip().splitlines() or [""]
    lines = [f"Unexpected {type(error).__name__}: {what[0]}"]
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile(
            "w", prefix="unfreeze-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
        lines.append(f"The stack trace is in {file.name}; --debug shows it here.")
    return lines


def _say(code: int, kind: str, lines: list[str], as_json: bool, calm: bool = False) -> int:
    if not lines:
        return code
    if as_json:
        document = {"error": kind, "exit_code": code, "messages": lines}
        print(json.dumps(document), file=sys.stderr)
        return code
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for line in "\n".join(lines).splitlines():
        console.print(Text(printable(line), style="yellow" if calm else "red"))
    return code
