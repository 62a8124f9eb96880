"""`unfreeze soup`: what is handed on, and what is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unfreeze.cli import main

if TYPE_CHECKING:
    from conftest import Stub

SOUP: dict[str, Any] = {
    "kind": "greedy",
    "metric": "macro_f1",
    "higher_is_better": True,
    "value": 0.83,
    "runs": [
        {"run": "runs/[red]one[/red]", "value": 0.8125, "taken": True, "with_it": 0.8125},
        {"run": "runs/two", "value": 0.75, "taken": False, "with_it": 0.7},
    ],
}


@pytest.fixture
def asked(api: Stub, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def soup(paths: list[str], output: str | None = None, **options: Any) -> Any:
        calls.append((paths, output, options))
        made = replace(api.load("runs/soup-1"))
        made.soup = SOUP  # type: ignore[attr-defined]
        made.path = Path("runs/soup-1")
        return made

    monkeypatch.setattr(api, "soup", soup, raising=False)
    return calls


def test_runs_and_options_are_handed_on(asked: list[Any]) -> None:
    assert main(["soup", "a", "b", "--output", "out", "--greedy", "--overwrite", "--quiet"]) == 0
    ((paths, output, options),) = asked
    assert (list(paths), output, options["greedy"], options["overwrite"]) == (["a", "b"], "out", True, True)
    assert main(["soup", "a"]) == 0
    assert asked[1][1] is None
    assert asked[1][2]["greedy"] is False
    assert main(["soup"]) == 2


def test_each_run_is_shown_with_its_figure(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soup", "a", "b"]) == 0
    out = capsys.readouterr().out
    for word in ("[red]one[/red]", "0.8125", "yes", "no", "0.7000", "macro f1 on validation", "Run: runs/soup-1"):
        assert word in out
    assert main(["soup", "a", "b", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["soup"] == SOUP
    assert document["run"] == "runs/soup-1"
