"""What a piece of evidence is. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from unfreeze.registry import Card

if TYPE_CHECKING:
    from unfreeze.evidence._context import Context

NOT_HERE = None
"""What `collect` returns where a kind of evidence does not apply to a run."""


class NoTimeLeft(Exception):
    """What a kind of evidence raises that cannot say anything useful in the time that it has."""


@dataclass(frozen=True)
class Evidence:
    """One kind of evidence, which stands in RUN/evidence/<name>.json once collected.

    Parameters
    ----------
    card : Card
    collect : callable (Context) -> dict or None
        Plain values for JSON; None where it does not apply. It must not change the run's model, and reads the test
        split only to tell about it: what is fitted or chosen is fitted and chosen on validation.
    order : int
        Evidence that another kind reads (`context.found[name]`) comes first.
    costly : bool
        It runs the model again. Such evidence is given a share of the run's own time (`context.seconds`) and is told
        about in the report when it was cut short or left out.
    timed : bool
        It is begun whatever time there is, and a part of it runs the model again as far as its share goes.
    least : callable (Context) -> float
        Seconds below which it has nothing to say: they are kept for it while kinds before it could do with them.
    """

    card: Card
    collect: Callable[[Context], dict[str, Any] | None]
    order: int = 50
    costly: bool = False
    timed: bool = False
    least: Callable[[Context], float] = field(default=lambda _: 0.0)
