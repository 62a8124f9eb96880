"""Promise 8: text from data is shown literally, neither as markup nor as a terminal's commands."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from unfreeze.cli import main
from unfreeze.cli.tables import cards_table, table, words
from unfreeze.errors import DataError
from unfreeze.methods import Phase
from unfreeze.progress import JsonLines, PlainLines, RichProgress, printable
from unfreeze.registry import Card

if TYPE_CHECKING:
    from conftest import Stub

CONTROL = ("\x1b", "\x07", "‮", "\x9b", "\x00")


def rendered(part: object) -> str:
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system=None, width=400).print(part)
    return stream.getvalue()


def harmless(text: str) -> bool:
    return not any(mark in text for mark in CONTROL)


@pytest.mark.parametrize("command", ["plan a.csv", "inspect a.csv", "predict r a.csv"])
def test_commands_show_markup_literally(command: str, api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert harmless(out)


def test_errors_show_markup_literally(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    api.error = DataError("label '[red]x[/red]' \x1b]0;owned\x07 in row 3")
    assert main(["fit", "a.csv"]) == 2
    err = capsys.readouterr().err
    assert "[red]x[/red]" in err
    assert harmless(err)


def test_json_escapes_control_characters(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "r", "a.csv", "--json"]) == 0
    out = capsys.readouterr().out
    assert harmless(out)
    assert json.loads(out)[0]["prediction"].startswith("[red]x[/red]\x1b")


@given(st.text())
def test_any_text_in_any_cell(text: str) -> None:
    assert printable(text).isprintable()
    card = Card(what=text, when=text, cost=text, evidence=text, source=text)
    for part in (words(text), table(text, [text], [[text]]), cards_table(text, [(text, card)])):
        assert harmless(rendered(part))


def test_a_bracket_survives_in_a_table() -> None:
    assert "[/]" in rendered(table("t", ["h"], [["[/]"]]))


def test_progress_shows_names_literally() -> None:
    phase = Phase(name="[red]x[/red]\x1b[2J", learn=("head",), epochs=1)
    stream = io.StringIO()
    bars = RichProgress(Console(file=stream, force_terminal=True, width=160, color_system=None))
    for shown in (bars, PlainLines(stream), JsonLines(stream)):
        shown.stage("reading [bold]a\x07[/bold]")
        shown.phase(0, phase, 3)
        shown.step(1, 0.5, 1e-3)
        shown.epoch({"epoch": 1, "loss": 0.5, "accuracy": 0.75})
        shown.note("[blink]")
        shown.finish({"status": "finished"})
    text = stream.getvalue()
    assert text.count("[red]x[/red]") >= 3
    assert "\x07" not in text
    assert "\x1b[2J" not in text
    assert "accuracy 0.7500" in text
