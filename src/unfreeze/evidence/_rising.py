"""Whether the learning curve still rises: what the probe gained by the last doubling of its rows, tested row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SURE = 0.05
"""How often chance may explain a rise that is called clear."""


@dataclass(frozen=True)
class Rise:
    """How much the probe's score on validation rose from `few` training rows to `many`, and how often by chance."""

    few: int
    many: int
    value: float
    p: float
    score: float

    @property
    def clear(self) -> bool:
        """Whether it is more than chance explains."""
        return self.value > 0 and self.p < SURE


def rise(probe: Mapping[str, Any] | None) -> Rise | None:
    """The rise of a probe's curve at its end; None where there is no curve."""
    curve, gain = (probe or {}).get("curve") or [], (probe or {}).get("gain")
    if len(curve) < 2 or not gain:
        return None
    half, whole = curve[-2], curve[-1]
    rose = float(whole["score"]) - float(half["score"])
    return Rise(int(half["rows"]), int(whole["rows"]), rose, float(gain.get("p", 1.0)), float(whole["score"]))
