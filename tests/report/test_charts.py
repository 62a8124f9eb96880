"""Markup escapes by itself, figures read well, and charts draw what they are given, whatever it is."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page import Page

from unfreeze.report.drawing import fitted, width_of
from unfreeze.report.html import (
    Bar,
    Html,
    Line,
    Mark,
    alike,
    bars,
    element,
    escape,
    estimate,
    heatmap,
    histogram,
    image,
    join,
    lines,
    note,
    number,
    percent,
    table,
)
from unfreeze.report.markup import visible
from unfreeze.report.scales import decades, labelled, ticks

ANY = st.text(st.characters(), max_size=60)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
PIXEL = b"\x89PNG\r\n\x1a\n" + b"0" * 20


class Text(HTMLParser):
    """All text of a piece of markup, and the tags that it opens."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found, self.tags = "", list[str]()
        self.feed(markup)
        self.close()

    def handle_data(self, data: str) -> None:
        self.found += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


# ---------------------------------------------------------------------------------------------- escaping


@settings(deadline=None)
@given(ANY)
def test_any_text_is_shown_literally_and_opens_nothing(text: str) -> None:
    read = Text(element("p", text, title=text))
    assert read.tags == ["p"]
    assert read.found.replace("\r\n", "\n").replace("\r", "\n") == visible(text)


@settings(deadline=None)
@given(ANY)
def test_attributes_hold_any_text(text: str) -> None:
    class Attribute(HTMLParser):
        value: str | None = None

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert len(attrs) == 1
            self.value = attrs[0][1]

    parser = Attribute(convert_charrefs=True)
    parser.feed(element("a", "x", title=text))
    parser.close()
    assert (parser.value or "") == visible(text)


@settings(deadline=None)
@given(ANY)
def test_what_is_written_can_be_encoded(text: str) -> None:
    written = escape(text).encode("utf-8")
    assert b"<" not in written


def test_markup_is_escaped_once_and_plain_text_always() -> None:
    inner = element("b", "a & b")
    assert element("p", inner) == "<p><b>a &amp; b</b></p>"
    assert escape(f"{inner}") == "&lt;b&gt;a &amp;amp; b&lt;/b&gt;", "an f-string is plain text again"
    assert escape(inner + "<i>") == "&lt;b&gt;a &amp;amp; b&lt;/b&gt;&lt;i&gt;"
    assert join(["<", None, Html("<br>")]) == "&lt;<br>"
    assert note("<b>") == '<p class="note info"><strong>Note: </strong>&lt;b&gt;</p>'


def test_hidden_characters_are_seen() -> None:
    assert visible("a\x00b\u202ec\x1b[31m") == "a�b�c�[31m"
    assert visible("👩‍👧 é ع\n") == "👩‍👧 é ع\n"


def test_only_pictures_are_embedded() -> None:
    assert 'src="data:image/png;base64,' in image(PIXEL, "a pixel")
    for data in (b"<svg onload=alert(1)>", b"", b"RIFFxxxxWAVE"):
        with pytest.raises(ValueError, match="must be PNG"):
            image(data, "no picture")


# ----------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (0.91499, 4, "0.9150"),
        (0.5, 3, "0.500"),
        (1.0, 3, "1.00"),
        (0, 4, "0"),
        (-0.0, 4, "0"),
        (12345.6, 4, "12,346"),
        (22566146, 4, "22,566,146"),
        (-3.25, 3, "−3.25"),
        (0.00001234, 3, "1.23e−05"),
        (0.0034, 2, "0.0034"),
        (None, 4, "–"),
        (float("nan"), 4, "not defined"),
        (float("-inf"), 4, "not defined"),
        ("3", 4, "–"),
        (True, 4, "–"),
    ],
)
def test_number(value: object, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def test_estimate_has_the_same_places_throughout() -> None:
    assert estimate(0.5, 0.00143, 0.81) == "0.500 (0.001 to 0.810)"
    assert estimate(9.4, 8.25, 10.7) == "9.4 (8.2 to 10.7)"
    assert estimate(0.5) == "0.500"
    assert estimate(-0.00001, -0.4, 0.3) == "0.000 (−0.400 to 0.300)"


def test_percent_keeps_what_would_vanish() -> None:
    assert percent(0.12345) == "12.3\u00a0%"
    assert percent(0.0000341, 2) == "0.003\u00a0%"
    assert percent(0) == "0.0\u00a0%"
    assert percent(float("nan")) == "–"


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12), min_size=1))
def test_figures_beside_each_other_have_as_many_places(values: list[float]) -> None:
    form = alike(values)
    if max(map(abs, values)) >= 1e-3:
        assert len({len(form(value).partition(".")[2]) for value in values}) == 1


# ------------------------------------------------------------------------------------------------- scales


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 8))
def test_ticks_are_round_and_within(low: float, width: float, count: int) -> None:
    high = low + width
    if width < 1e-6 * abs(low):
        return
    found = ticks(low, high, count)
    assert all(low - 1e-6 * width <= at <= high + 1e-6 * width for at in found)
    assert len(found) <= 2 * count + 2
    assert found == sorted(found)


def test_ticks_and_their_words() -> None:
    assert [words for _, words in labelled(ticks(0, 1, 4))] == ["0.00", "0.25", "0.50", "0.75", "1.00"]
    assert [words for _, words in labelled(ticks(0, 66, 6))] == ["0", "20", "40", "60"]
    assert [words for _, words in labelled(ticks(1, 3, 6, 1.0))] == ["1", "2", "3"]
    assert [words for _, words in labelled(ticks(-1500, 1500, 3))] == ["−1,000", "0", "1,000"]
    assert decades(3e-5, 2e-2) == pytest.approx([1e-4, 1e-3, 1e-2])


def test_wide_letters_are_given_room() -> None:
    assert width_of("漢字") == 2 * width_of("ab")
    assert width_of(fitted("漢字" * 40, 100)) <= 100
    assert fitted("short", 100) == "short"


# ------------------------------------------------------------------------------------------------- charts


def drawn(markup: Html) -> Page:
    return Page(f"<!DOCTYPE html>\n<html><body>{markup}</body></html>")


def coordinates(page: Page) -> list[float]:
    found = [
        float(each.attributes[name])
        for each in page.all("line", "rect", "circle", "text")
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height")
        if name in each.attributes
    ]
    for each in page.all("polyline", "polygon"):
        found += [float(value) for pair in each.attributes["points"].split() for value in pair.split(",")]
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=30), st.sampled_from(["line", "dashed", "dots"]), st.booleans())
def test_lines_draw_any_points_within_the_picture(points: list[tuple[float, float]], style: str, log: bool) -> None:
    made = lines([Line("<a>", points, style=style), Line("b", [])], "t", x="x", y="y", log_y=log)  # type: ignore[arg-type]
    page = drawn(made)
    assert all(math.isfinite(value) and -20 <= value <= 700 for value in coordinates(page))


@settings(deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), max_size=12))
def test_bars_draw_any_values(values: list[tuple[float, float, float]]) -> None:
    page = drawn(bars([Bar("<b>", *each) for each in values], "t"))
    assert all(math.isfinite(value) and -20 <= value <= 20_000 for value in coordinates(page))
    assert len(page.all("tbody")) == 1


def test_a_bar_is_as_long_as_its_value() -> None:
    page = drawn(bars([Bar("a", 0.5), Bar("b", 0.25, 0.2, 0.3)], "t", axis=(0, 1)))
    widths = [float(each.attributes["width"]) for each in page.all("rect")]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.01)
    ends = [float(each.attributes["x2"]) for each in page.all("line") if each.attributes["class"] == "whisker"]
    right = float(page.all("rect")[1].attributes["x"]) + widths[1]
    assert max(ends) - right == pytest.approx(widths[1] * 0.05 / 0.25, rel=0.05)


def test_bars_below_zero_hang_to_the_left() -> None:
    page = drawn(bars([Bar("a", -1.0), Bar("b", 1.0)], "t"))
    left, right = page.all("rect")
    middle = float(left.attributes["x"]) + float(left.attributes["width"])
    assert middle == pytest.approx(float(right.attributes["x"]), abs=0.1)


def test_long_lines_are_thinned_with_their_ends() -> None:
    points = [(float(at), float(at % 7)) for at in range(20_000)]
    markup = lines([Line("a", points)], "t", x="x", y="y")
    assert len(markup) < 40_000
    page = drawn(markup)
    rows = [each for each in page.all("tr") if "tbody" in each.inside]
    assert len(rows) == 60
    assert rows[-1].text.startswith("19,999")


def test_marks_do_not_write_over_each_other() -> None:
    marks = [Mark(float(at), f"phase number {at}") for at in range(40)]
    page = drawn(lines([Line("a", [(0.0, 0.0), (39.0, 1.0)])], "t", x="x", y="y", marks=marks))
    spans: dict[str, list[tuple[float, float]]] = {}
    for each in page.all("text"):
        if each.text.startswith("phase"):
            at, wide = float(each.attributes["x"]), width_of(each.text)
            span = (at, at + wide) if each.attributes["text-anchor"] == "start" else (at - wide, at)
            for a, b in spans.setdefault(each.attributes["y"], []):
                assert span[1] <= a or b <= span[0]
            spans[each.attributes["y"]].append(span)
    assert sum(map(len, spans.values())) >= 3
    assert len([each for each in page.all("line") if each.attributes["class"] == "mark"]) == 40


def test_heatmap_tells_every_cell() -> None:
    page = drawn(heatmap([[1.0, 0.0], [None, 0.5]], ["<r>", "s"], ["c", "d"], "t", top=1.0))
    assert [each.text for each in page.all("title")][1:] == [
        "<r>, c: 100\u00a0%",
        "<r>, d: 0\u00a0%",
        "s, d: 50\u00a0%",
    ]
    assert [each.attributes["fill-opacity"] for each in page.all("rect")] == ["1.00", "0.04", "0.53"]


def test_histogram_has_a_column_for_each_range() -> None:
    page = drawn(histogram([0, 1, 2, 3], [("", [1, 2, 4])], "t", x="x"))
    heights = [float(each.attributes["height"]) for each in page.all("rect")]
    assert heights[2] == pytest.approx(4 * heights[0], rel=0.02)


def test_every_chart_says_what_it_shows() -> None:
    for markup in (
        bars([Bar("a", 1.0), Bar("b", 2.0)], "Title"),
        lines([Line("a", [(0, 1), (1, 2)])], "Title", x="x", y="y"),
        heatmap([[1.0]], ["a"], ["b"], "Title"),
        histogram([0, 1], [("", [1])], "Title", x="x"),
    ):
        svg = drawn(markup).all("svg")[0]
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-label"].startswith("Title. ")
        assert re.search("<title>Title</title><desc>.+</desc>", markup)
        assert "The same as a table" in markup


def test_figures_in_tables_stand_to_the_right() -> None:
    page = drawn(
        table(
            ["name", "rows", "share", "word"],
            [["3", 12, "0.5 (0.1 to 0.9)", "3 of them are what we want to see here"]],
            "c",
        )
    )
    assert [each.attributes.get("class") for each in page.all("th", "td")[4:]] == [None, "number", "number", None]


def test_only_wide_tables_take_the_focus() -> None:
    """A picture and a narrow table do not scroll in a usual window: a stop there would be one for nothing."""
    for markup in (bars([Bar("a", 1.0)], "Title"), table(["name", "rows"], [["a", 1]], "c")):
        page = drawn(markup)
        assert not [each for each in page.elements if "tabindex" in each.attributes]
        assert not [each for each in page.all("div") if "aria-label" in each.attributes], "the name is told once"
    wide = drawn(table([f"column {number}" for number in range(12)], [["0.5 (0.1 to 0.9)"] * 12], "c"))
    (frame,) = [each for each in wide.elements if "tabindex" in each.attributes]
    assert frame.attributes["role"] == "group"
    assert frame.attributes["aria-label"]


def test_every_column_has_a_name() -> None:
    for markup in (
        bars([Bar("a", 1.0, 0.5, 1.5)], "Title"),
        heatmap([[1.0]], ["a"], ["b"], "Title"),
        histogram([0, 1], [("", [1])], "Title", x="x"),
    ):
        assert all(each.text.strip() for each in drawn(markup).all("th"))


def test_the_table_beside_a_heatmap_may_tell_more() -> None:
    page = drawn(heatmap([[0.5]], ["a"], ["b"], "Title", texts=[["50 %"]], told=[["50 % (40 to 60)"]]))
    assert [each.text for each in page.all("td")] == ["50 % (40 to 60)"]
    assert "50 %" in [each.text for each in page.all("text")]
