"""A method that keeps what the features knew, where figures fall on other domains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unfreeze.advice._advice import Advice

if TYPE_CHECKING:
    from unfreeze.run import Run

DROP = 0.05


def rule(run: Run) -> Advice | None:
    """The largest drop on a set that the user named, beyond its interval, of a run in which all layers learned."""
    sets = (run.evidence.get("shift") or {}).get("sets") or []
    drops = [(item.get("drop") or {}, item.get("name", "")) for item in sets]
    sure = [(drop, name) for drop, name in drops if (drop.get("low") or 0.0) > 0 and drop["value"] >= DROP]
    if not sure or run.recipe.method.name in ("head", "lp-ft", "wise-ft") or run.recipe.method.phases:
        return None
    worst, name = max(sure, key=lambda item: float(item[0]["value"]))
    return Advice(
        what="Keep more of what the features knew: head first, then all layers, interpolated with the pre-trained "
        "weights (wise-ft); lp-ft is the simpler half of it",
        why=f"on '{name}' {run.result['metric']} is {worst['value']:.3f} lower than on the run's own data",
        gain=0.2,
        changes={"method.name": "wise-ft", "method.options": {}},
    )


RULE = rule
