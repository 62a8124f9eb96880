"""What a section of the report is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unfreeze.report.html import Html
    from unfreeze.run import Run


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Parameters
    ----------
    order : int
        Where it stands; see the numbers of the others in `unfreeze/report/sections/`.
    title : str
    render : callable (Run) -> Html or None
        Its content, made from the run's files alone; None where the run has nothing to show of it.
    """

    order: int
    title: str
    render: Callable[[Run], Html | None]
