"""More rows, where the learning curve still rises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice

if TYPE_CHECKING:
    from unfreeze.run import Run

RISE = 0.01
"""Gain by the last doubling of the rows below which the curve counts as flat."""


def rule(run: Run) -> Advice | None:
    """The probe's score on validation with half of its rows and with all of them."""
    curve = (run.evidence.get("probe") or {}).get("curve") or []
    if len(curve) < 2:
        return None
    half, whole = curve[-2], curve[-1]
    rise = whole["score"] - half["score"]
    if rise < RISE:
        return None
    rows = run.result["rows"]["train"]
    return Advice(
        what="Label more rows: twice as many would be worth trying",
        why=f"a linear probe gained {rise:.3f} on validation when its rows went from {half['rows']:.0f} to "
        f"{whole['rows']:.0f}; the run itself learned from {rows}",
        gain=min(1.0, rise / max(1e-6, 1.0 - whole["score"])),
    )


RULE = rule
