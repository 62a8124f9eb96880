"""Whether the learning curve still rises: the gain by the last doubling of its rows, beside what chance gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SURE = 1.959964
"""Standard errors of a difference that chance exceeds once in twenty times."""


@dataclass(frozen=True)
class Rise:
    """How much the probe's score on validation rose from `few` training rows to `many`, and what chance explains."""

    few: int
    many: int
    value: float
    chance: float
    score: float

    @property
    def clear(self) -> bool:
        """Whether it is more than chance explains."""
        return self.value > self.chance


def rise(probe: Mapping[str, Any] | None, task: str) -> Rise | None:
    """The rise of a probe's curve at its end; None where there is no curve.

    Both scores are of the same validation rows, but only the scores are kept, not which rows were right. So the
    standard error is that of two figures from different rows, which is larger: a rise that is called clear is clear.
    """
    curve = (probe or {}).get("curve") or []
    held = ((probe or {}).get("rows") or {}).get("validation", 0)
    if len(curve) < 2 or not held:
        return None
    half, whole = curve[-2], curve[-1]
    both = (_variance(float(point["score"]), held, task) for point in (half, whole))
    return Rise(
        few=int(half["rows"]),
        many=int(whole["rows"]),
        value=float(whole["score"]) - float(half["score"]),
        chance=float(SURE * sum(both) ** 0.5),
        score=float(whole["score"]),
    )


def _variance(score: float, rows: int, task: str) -> float:
    """Of a share of so many rows: the binomial's. Of R²: 4 R² (1 - R²)² / n (Olkin and Finn 1995).

    Near 0 and 1, where they would see no doubt at all, one row's worth is taken.
    """
    least = 1.0 / (rows + 2)
    if task == "regression":
        explained = min(max(score, least), 1.0)
        return 4 * explained * max(1.0 - score, least) ** 2 / rows
    share = min(max(score, least), 1.0 - least)
    return share * (1.0 - share) / rows
