"""Real runs of which only some kinds of evidence are collected, with all the time that they want."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from unfreeze.evidence import _collect
from unfreeze.evidence._context import Context

ASKED = {"evaluation__report": True, "evaluation__evidence_share": 1e6}
"""Options of a run that is told about."""


@contextmanager
def only(*kinds: str) -> Iterator[list[Context]]:
    """While this lasts, runs collect these kinds; the contexts that they were collected from are noted."""
    contexts: list[Context] = []
    whole = _collect.collect

    def collect(context: Context, only: Collection[str] | None = None) -> dict[str, Any]:
        contexts.append(context)
        missing = whole(context, kinds)
        assert missing == {}
        return missing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_collect, "collect", collect)
        yield contexts
