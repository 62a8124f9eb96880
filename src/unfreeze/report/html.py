"""What sections are made of: markup that escapes by itself, and charts. Import from here.

>>> from unfreeze.report.html import element, join, note
>>> note("less than <90 %>", "warning")
'<p class="note warning"><strong>Take care: </strong>less than &lt;90 %&gt;</p>'

Rules that the page relies on: no `style` attribute and no script (the page's Content-Security-Policy forbids both;
use classes and SVG attributes), headings within a section begin at level 3 (`heading`), and colours are the classes
`tone0` to `tone7` or the custom properties of page.css.
"""

from __future__ import annotations

from unfreeze.report.charts import Bar, Line, Mark, bars, histogram, lines
from unfreeze.report.heatmaps import heatmap
from unfreeze.report.markup import (
    Html,
    alike,
    code,
    cut,
    details,
    element,
    escape,
    estimate,
    facts,
    figure,
    heading,
    headline,
    image,
    isolated,
    join,
    listing,
    note,
    number,
    paragraph,
    percent,
    scored,
    seconds,
    table,
)

__all__ = [
    "Bar",
    "Html",
    "Line",
    "Mark",
    "alike",
    "bars",
    "code",
    "cut",
    "details",
    "element",
    "escape",
    "estimate",
    "facts",
    "figure",
    "heading",
    "headline",
    "heatmap",
    "histogram",
    "image",
    "isolated",
    "join",
    "lines",
    "listing",
    "note",
    "number",
    "paragraph",
    "percent",
    "scored",
    "seconds",
    "table",
]
