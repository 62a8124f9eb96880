"""A strict reading of a page: every element closed, and what assistive technology and policies rely on."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"img", "br", "hr", "meta", "link", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Elements in order with their attributes, their ancestors' tags and all text within them."""

    source: str = ""
    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        assert not self.open, f"left open: {[each.tag for each in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"attribute twice in {tag}: {names}"
        made = Element(tag, {name: value or "" for name, value in attrs}, tuple(each.tag for each in self.open))
        self.elements.append(made)
        if tag not in VOID:
            self.open.append(made)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for each in self.open:
            each.text += data

    def all(self, *tags: str) -> list[Element]:
        return [each for each in self.elements if each.tag in tags]

    def one(self, tag: str) -> Element:
        found = self.all(tag)
        assert len(found) == 1, f"{len(found)} of <{tag}>"
        return found[0]

    @property
    def text(self) -> str:
        return self.one("body").text

    @property
    def headings(self) -> list[str]:
        return [each.text for each in self.all("h2")]


def check(source: str) -> Page:
    """Everything that holds for each page that is written; returns the page for more."""
    page = Page(source)
    assert page.one("html").attributes["lang"]
    assert [each.inside for each in page.all("title")].count(("html", "head")) == 1
    for tag in ("header", "nav", "main", "footer", "h1"):
        page.one(tag)
    _outline(page)
    _names(page)
    _nothing_external(page)
    _described(page)
    return page


def _outline(page: Page) -> None:
    levels = [int(each.tag[1]) for each in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    for before, level in pairwise(levels):
        assert level <= before + 1, f"a heading of level {level} follows one of level {before}"
    empty = [
        each.tag for each in page.all("h1", "h2", "h3", "h4", "figcaption", "caption", "a") if not each.text.strip()
    ]
    assert not empty


def _names(page: Page) -> None:
    ids = Counter(each.attributes["id"] for each in page.elements if "id" in each.attributes)
    assert not [name for name, count in ids.items() if count > 1]
    for each in page.elements:
        target = each.attributes.get("href", "")
        assert not target or target[1:] in ids, f"no element is called {target}"
        for name in each.attributes.get("aria-labelledby", "").split():
            assert name in ids
    styled = set(re.findall(r"\.([a-z][\w-]*)", page.one("style").text))
    used = {name for each in page.elements for name in each.attributes.get("class", "").split()}
    assert used <= styled, f"classes without a style: {sorted(used - styled)}"


def _nothing_external(page: Page) -> None:
    assert not page.all("script", "iframe", "object", "embed", "link", "base", "form", "video", "audio", "use", "image")
    for each in page.elements:
        for name, value in each.attributes.items():
            assert not name.startswith("on"), f"{each.tag} has {name}"
            assert name not in ("style", "srcset", "action", "formaction", "xlink:href"), f"{each.tag} has {name}"
            if name in ("src", "href"):
                assert value.startswith(("#", "data:image/")), f"{each.tag} {name}={value[:60]}"
    assert "url(" not in page.one("style").text
    assert "@import" not in page.one("style").text


def _described(page: Page) -> None:
    for each in page.all("th"):
        assert each.attributes.get("scope") in ("col", "row")
        assert each.text.strip() or each.attributes["scope"] == "row", "a column without a name"
    for each in page.all("img"):
        assert each.attributes.get("alt", "").strip()
    for each in page.all("svg"):
        hidden = each.attributes.get("aria-hidden") == "true"
        assert hidden or (each.attributes.get("role") == "img" and each.attributes.get("aria-label"))
    for each in page.elements:
        if "scroll" in each.attributes.get("class", "").split() and "tabindex" in each.attributes:
            assert each.attributes.get("role") == "group"
            assert each.attributes.get("aria-label")
    assert len(page.all("summary")) == len(page.all("details"))
    assert len(page.all("caption")) == len(page.all("table")), "a table without a caption"
    for each in page.elements:
        assert "nan" not in each.attributes.get("points", "")
        for name in ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height", "r"):
            value = each.attributes.get(name)
            assert value is None or re.fullmatch(r"-?\d+(\.\d+)?", value), f"{each.tag} {name}={value}"
