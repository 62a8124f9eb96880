"""Texts that a spreadsheet program must not run as a formula when it opens a table.

Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import re
from typing import Any

FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def harmless(value: Any) -> Any:
    """A text that begins as a formula with an apostrophe before it; numbers, also written as texts, as they are."""
    if isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def undone(value: str) -> str:
    """A text without the apostrophe that `harmless` put before it."""
    return value[1:] if value.startswith("'") and FORMULA.match(value[1:]) else value
