"""Each kind of wrong input: one clear message, exit code 2, no stack trace, nothing lost and nothing left behind."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from odd_case import Case, fit_words
from odd_cases import CASES, page

from unfreeze.cli import main

LONGEST = 1000
"""A message is something that one reads; only what the user typed may make it longer."""


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_one_clear_message(
    case: Case,
    things: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path.parent))
    (tmp_path / "things.txt").write_text(str(things["run"]))
    case.setup()
    before, runs = contents(tmp_path), {name: contents(place) for name, place in things.items()}
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command line does for what libraries say
        code = main(fit_words(case.command, things))
    written = capsys.readouterr()
    assert code == case.code, written.err
    said = written.err if case.code else written.out + written.err
    missing = [words for words in case.said if words not in said]
    assert not missing, said
    after = contents(tmp_path)
    assert {path: after.get(path) for path in before} == before, "what the user has was changed"
    assert {name: contents(place) for name, place in things.items()} == runs, "a finished run was changed"
    assert not any(mark in written.out + written.err for mark in ("Traceback", "Unexpected", "\x1b", "\x07"))
    if case.code:
        lines = [line for line in written.err.splitlines() if not line.startswith(("reading and", "loading "))]
        assert 1 <= len(lines) <= 3, written.err
        assert len(written.err) <= LONGEST + len(case.command)
        assert written.out == ""
        assert after.keys() == before.keys(), "something half made was left behind"


def test_nothing_was_run_by_a_tag(tmp_path: Path) -> None:
    Path("job.yaml").write_text("data: !!python/object/apply:os.system ['touch owned']\n")
    assert main(["fit", "job.yaml"]) == 2
    assert not (tmp_path / "owned").exists()


def test_there_are_many_kinds_and_none_twice() -> None:
    assert len({case.what for case in CASES}) == len(CASES) >= 120


def test_the_page_is_up_to_date() -> None:
    found = Path(__file__).parents[2].joinpath("docs", "errors.md").read_text(encoding="utf-8")
    assert found == page(), "run: python tests/wrong_input/odd_cases.py"
