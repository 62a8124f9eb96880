"""Sections put together into one page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from unfreeze import __version__
from unfreeze.errors import UserError
from unfreeze.report import SECTIONS
from unfreeze.report.html import Html, element, isolated, join, note
from unfreeze.run import Run
from unfreeze.train.files import write_bytes

REPORT = "report.html"
GRAVE = ("warning", "bad")

REPEATED = ("comparison",)
"""Sections whose warnings stand in the summary too."""


@dataclass(frozen=True)
class Part:
    """A section that is ready to be shown."""

    name: str
    title: str
    body: Html


def write_report(run: Run) -> Path:
    """Write RUN/report.html from the run's files alone.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    RunError
        If the run is not finished, or one of its files is damaged.
    """
    path = run.path / REPORT
    write_bytes(path, report(run).encode())
    return path


def report(run: Run) -> str:
    """The report of a finished run as one HTML document."""
    result = run.result
    title = f"{last_part(result['model']['name'])} on {last_part(run.manifest.source)}"
    about = join(
        [
            f"{run.manifest.task} of {run.manifest.modality}, method ",
            isolated(result["method"]),
            f", finished {_day(result)}",
        ]
    )
    return document(title, about, parts_of(run))


def last_part(place: str) -> str:
    """A local path without its folders; a model's name on the Hub, which has one slash, as it is."""
    return Path(place).name or place if Path(place).is_absolute() else place


def _day(result: dict[str, object]) -> str:
    return str(result.get("finished", ""))[:10] or "at an unknown time"


def parts_of(run: Run) -> list[Part]:
    """Every section that has something to show, in its order; one that fails says so in its place."""
    ordered = sorted(SECTIONS.items(), key=lambda item: (item[1].order, item[0]))
    found = []
    for name, section in ordered:
        try:
            body = section.render(run)
        except (UserError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            # What an earlier version or another tool wrote must not take the rest of the page away.
            reason = f"{type(error).__name__}: {error}"
            body = note(f"This section could not be made from what the run holds ({reason}).", "warning")
        if body:
            found.append(Part(name, section.title, body))
    return with_pointers(found)


def with_pointers(parts: Sequence[Part]) -> list[Part]:
    """The same sections; the first also says which of the others hold warnings that it does not repeat."""
    if not parts:
        return []
    first, *others = parts
    held = [(part, sum(part.body.count(f'class="note {kind}"') for kind in GRAVE)) for part in others]
    links = [
        join([element("a", part.title, href=f"#{part.name}"), f" ({count})" if count > 1 else None])
        for part, count in held
        if count and part.name not in REPEATED
    ]
    if not links:
        return list(parts)
    pointed = element("p", "More to take care of: ", join(links, ", "), ".")
    return [Part(first.name, first.title, join([first.body, pointed])), *others]


def document(title: str, about: object, parts: Sequence[Part]) -> str:
    """A whole HTML document: its head forbids everything that is not in the document itself."""
    style = page_style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="generator", content=f"unfreeze {__version__}"),
        element("title", title),
        element("style", Html(style)),
    )
    links = [element("li", element("a", part.title, href=f"#{part.name}")) for part in parts]
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        element("header", element("h1", isolated(title)), element("p", about, class_="soft")),
        element("nav", element("ol", *links), aria_label="Sections"),
        element("main", *(_section(part) for part in parts), id="report", tabindex="-1"),
        element("footer", _footer()),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _section(part: Part) -> Html:
    title = element("h2", part.title, id=f"{part.name}-title")
    return element("section", title, part.body, id=part.name, aria_labelledby=f"{part.name}-title")


def _footer() -> Html:
    return element(
        "p",
        f"Made by unfreeze {__version__} from the run's own files. Intervals are 95 %. ",
        "The page may show texts or pictures from your data: share it only as you would share them.",
    )


@cache
def page_style() -> str:
    """The page's style sheet, as it stands in page.css."""
    text = resources.files("unfreeze.report").joinpath("page.css").read_text(encoding="utf-8")
    assert "<" not in text, "a style sheet within a page must not end its element"
    return text
