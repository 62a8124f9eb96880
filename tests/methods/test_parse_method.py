"""Method names with arguments, as people write them."""

from __future__ import annotations

import pytest

from unfreeze.errors import RecipeError
from unfreeze.methods import parse_method


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("last:2", ("last", "2")),
        (" Last : 2 ", ("last", "2")),
        ("all_but_first:1", ("all-but-first", "1")),
        ("head", ("head", None)),
        ("gradual", ("gradual", None)),
        ("gradual:3", ("gradual", "3")),
    ],
)
def test_a_name_and_its_argument(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_method(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lst:2", "unknown method 'lst'. Did you mean 'last'?"),
        ("", "unknown method ''. Known: adapter"),
        ("last", "'last' needs a number (k), as in last:2. Got 'last'."),
        ("last:", "'last' needs a number (k)"),
        ("full:2", "'full' takes nothing after a colon. Got 'full:2' instead."),
    ],
)
def test_what_cannot_be_meant(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_method(text)
    assert expected in str(caught.value)
