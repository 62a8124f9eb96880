"""Tables between the marks of a page, so that a command can write them anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 0) -> list[str]:
    """A table of Markdown: the first `words` columns are words, the others numbers."""
    rules = ["---" if number < words else "---:" for number in range(len(columns))]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rules, *rows)]


def say(lines: Sequence[str], mark: str, page: Path | None) -> None:
    """Print lines and, if there is a page, put them between its `<!-- mark -->` and `<!-- /mark -->`.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    print("\n".join(lines))
    if page is None:
        return
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
    text = page.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page}: expected one {begin.strip()} and one {end}.")
    before, rest = text.split(begin)
    body = "\n".join(lines)
    page.write_text(f"{before}{begin}{body}\n{end}{rest.split(end)[1]}", encoding="utf-8")
