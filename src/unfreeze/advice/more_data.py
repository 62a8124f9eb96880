"""More rows, where the learning curve still rises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice, share_of_way
from unfreeze.evidence._rising import rise

if TYPE_CHECKING:
    from unfreeze.run import Run

RISE = 0.01
"""Gain by the last doubling of the rows below which the curve counts as flat, however sure it is."""


def rule(run: Run) -> Advice | None:
    """The probe's score on validation with half of its rows and with all of them, beyond what chance gives."""
    found = rise(run.evidence.get("probe"))
    if found is None or found.value < RISE or not found.clear:
        return None
    rows = run.result["rows"]["train"]
    return Advice(
        what="Label more rows: twice as many would be worth trying",
        why=f"a linear probe gained {found.value:.3f} on validation when its rows went from {found.few} to "
        f"{found.many}, which chance hardly explains (p = {found.p:.2g}); the run itself learned from {rows}",
        gain=share_of_way(found.value, found.score, True),
    )


RULE = rule
