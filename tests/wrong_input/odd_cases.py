"""The table of wrong and odd input: what a clumsy user does, and what is said. docs/errors.md is made from it.

In commands TEXT and IMAGE stand for a tiny model and the options of a short run; {text}, {image}, {run},
{image_run}, {number_run} and {several_run} for the folders in `things` (conftest.py).
"""

from __future__ import annotations

from pathlib import Path

from odd_case import Case
from odd_data import COLUMNS, FILES, IMAGES, ROWS
from odd_words import FLAGS, MODELS, OUTPUTS, RECIPES, RUNS

CHAPTERS = {
    "Files": FILES,
    "Rows, texts and labels": ROWS,
    "Columns and splits": COLUMNS,
    "Images": IMAGES,
    "Models": MODELS,
    "Flags and settings": FLAGS,
    "Recipes": RECIPES,
    "Output folders": OUTPUTS,
    "Runs": RUNS,
}
CASES = [case for cases in CHAPTERS.values() for case in cases]

INTRODUCTION = """# What is refused, and how

Wrong input ends with exit code 2 and a message that says what was expected, what was found and where, with the nearest
valid name. Nothing is trained then, no run folder is left behind, and files that were given are never changed. Input
that is merely odd is used, and what had to be left out is told. Every row below is run by the tests.
"""


def page() -> str:
    """docs/errors.md."""
    parts = [INTRODUCTION]
    for title, cases in CHAPTERS.items():
        parts.append(f"\n## {title}\n\n| what | outcome | said |\n|---|---|---|\n")
        parts += [f"| {case.what} | {_outcome(case)} | {_cell(' … '.join(case.said))} |\n" for case in cases]
    return "".join(parts)


def _outcome(case: Case) -> str:
    return "refused" if case.code == 2 else "used, and told"


def _cell(words: str) -> str:
    return "`" + words.replace("|", "\\|").replace("`", "'") + "`"


if __name__ == "__main__":
    Path(__file__).parents[2].joinpath("docs", "errors.md").write_text(page(), encoding="utf-8")
