"""The report in a real browser: no complaint, no request, both schemes, small windows, keyboard, print."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, executable
from made import classes, hostile, numbers, write_run
from printed import text_of

from unfreeze.report.comparing import write_comparison
from unfreeze.report.page import write_report
from unfreeze.run import Run

pytestmark = pytest.mark.skipif(executable() is None, reason="there is no Chromium here")
OPEN = "document.querySelectorAll('details').forEach(each => each.open = true)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
def pages(text_run: Run, image_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    bad, plain = hostile(folder / "bad"), write_run(folder / "numbers", numbers())
    twin = write_run(folder / "twin", classes(seed=1)), write_run(folder / "other", classes(seed=2))
    return {
        "text": text_run.path / "report.html",
        "images": image_run.path / "report.html",
        "numbers": write_report(plain),
        "hostile": write_report(bad),
        "comparison": write_comparison(twin, folder / "comparison.html"),
    }


NAMES = ["text", "images", "numbers", "hostile", "comparison"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_complaint_and_no_request(browser: Browser, pages: dict[str, Path], name: str, scheme: str) -> None:
    browser.open(pages[name], scheme=scheme)
    browser.ask(OPEN)
    assert browser.complaints() == []
    assert browser.requests() == []
    assert browser.ask("[...document.images].every(each => each.complete && each.naturalWidth > 0)")
    assert browser.ask("document.scripts.length") == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [320, 360, 768, 1400])
def test_no_page_is_wider_than_its_window(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    browser.open(pages[name], width=width)
    browser.ask(OPEN)
    assert browser.ask(OVERFLOW) == 0


def test_both_schemes_are_painted(browser: Browser, pages: dict[str, Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        browser.open(pages["text"], scheme=scheme)
        seen[scheme] = [
            browser.ask(f"getComputedStyle(document.querySelector('{part}')).{style}")
            for part, style in (("body", "backgroundColor"), ("body", "color"), (".chart .line.tone0", "stroke"))
        ]
    assert seen["light"][:2] == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert seen["dark"][:2] == ["rgb(20, 23, 27)", "rgb(232, 235, 238)"]
    assert seen["light"][2] != seen["dark"][2]


def test_style_is_applied_and_nothing_else_may_be(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["text"])
    assert browser.ask("getComputedStyle(document.querySelector('.note')).borderLeftStyle") == "solid"
    browser.ask(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"file:///etc/hostname\"><p style=\"color:red\">')"
    )
    browser.ask("new Promise(done => setTimeout(done, 200))")
    assert any("Content Security Policy" in text for text in browser.complaints())


def test_headings_as_a_reader_meets_them(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["text"])
    headings = browser.ask("[...document.querySelectorAll('main h2')].map(each => each.innerText)")
    assert headings[0] == "Summary"
    assert headings[-1] == "Provenance"
    tree = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in tree]
    assert {"main", "navigation", "banner", "contentinfo", "table", "figure"} <= set(roles)
    pictures = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "image"]
    assert pictures
    assert all(pictures)


def test_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["text"])
    _press(browser, "Tab", 9)
    focused = "document.activeElement"
    assert browser.ask(f"{focused}.className") == "skip"
    assert browser.ask(f"{focused}.getBoundingClientRect().left") > 0, "the skip link is seen when it has the focus"
    assert browser.ask(f"getComputedStyle({focused}).outlineStyle") == "solid"
    _press(browser, "Enter", 13)
    assert browser.ask(f"{focused}.id") == "report"
    browser.ask("document.querySelector('summary').focus()")
    _press(browser, "Enter", 13)
    assert browser.ask(f"{focused}.parentElement.open")


def _press(browser: Browser, key: str, code: int) -> None:
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)


@pytest.mark.parametrize("name", ["text", "images"])
def test_print(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], scheme="dark")
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 2 <= pdf.count(b"/Type /Page\n") <= 60
    browser.call(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.ask("getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


@pytest.mark.parametrize("name", ["text", "images"])
def test_what_is_folded_away_is_printed(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    assert browser.ask("document.querySelectorAll('details[open]').length") == 0
    assert browser.ask("document.querySelectorAll('details').length") > 5
    printed = text_of(browser.pdf(background=False))
    assert "Provenance" in printed, "text can be read off the paper"
    for folded in ("gate_tolerance", "labelsasatable", "Theledger", "Thesameasatable"):
        assert folded in printed
    digest = browser.ask("[...document.querySelectorAll('details td code')].at(-1).textContent")
    assert digest in printed, "the ledger's hashes"


def test_words_keep_their_shade_and_notes_their_ground_on_paper(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["text"])
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    for part in ("mark", ".note"):
        assert browser.ask(f"getComputedStyle(document.querySelector('{part}')).printColorAdjust") == "exact"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


def test_shaded_words_are_known_without_colour(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["text"])
    kinds = {
        kind: browser.ask(f"getComputedStyle(document.querySelector('mark.{kind}')).textDecoration")
        for kind in ("for", "against")
        if browser.ask(f"!!document.querySelector('mark.{kind}')")
    }
    assert kinds
    assert all("underline" in each for each in kinds.values())
    assert len(set(kinds.values())) == len(kinds)


def test_pictures_to_look_at(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(os.environ.get("UNFREEZE_SCREENSHOTS", tmp_path))
    for name, scheme in (("text", "light"), ("images", "dark")):
        browser.open(pages[name], scheme=scheme)
        assert browser.picture(folder / f"{name}.png").stat().st_size > 10_000
