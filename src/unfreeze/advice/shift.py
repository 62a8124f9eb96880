"""A method that keeps what the features knew, where figures fall on other domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfreeze.advice._advice import Advice, base_method, other_method, share_of_way

if TYPE_CHECKING:
    from unfreeze.run import Run

DROP = 0.05
"""The least that counts: of a share itself, of a number's error in standard deviations of the target."""

KEEPING = ("head", "lp-ft", "wise-ft")


def rule(run: Run) -> Advice | None:
    """The largest drop on a set that the user named, beyond its interval, of a run in which all layers learned."""
    found = run.evidence.get("shift") or {}
    numbers = run.result["task"] == "regression"
    # An error in the target's own unit says nothing by itself; rmse is measured beside whatever metric decides.
    metric, higher = ("rmse", False) if numbers else (found.get("metric", ""), found.get("higher_is_better", True))
    unit = run.manifest.target_scale if numbers else 1.0
    drops = [_drop(item, metric, higher) for item in found.get("sets") or []]
    sure = [drop for drop in drops if drop is not None and drop["low"] > 0 and drop["value"] >= DROP * unit]
    if not sure or run.recipe.method.phases or base_method(run.recipe) in KEEPING:
        return None
    worst = max(sure, key=lambda drop: float(drop["value"]))
    worse = "lower" if higher else "higher"
    return Advice(
        what="Keep more of what the features knew: head first, then all layers, interpolated with the pre-trained "
        "weights (wise-ft); lp-ft is the simpler half of it",
        why=f"on '{worst['name']}' {metric.replace('_', ' ')} is {worst['value']:.3g} {worse} than on the run's own "
        "data. The sources of both methods promise a gain there; on the domains of docs/evidence.md neither was better "
        "than full fine-tuning, so that rows from there, also a few, may help more",
        gain=share_of_way(worst["value"], worst["there"], higher),
        changes=other_method(run.recipe, run.manifest.modality, "wise-ft"),
    )


def _drop(item: dict[str, Any], metric: str, higher: bool) -> dict[str, Any] | None:
    """How much worse a set's figure is than that of the run's own rows, with the lower end of its interval."""
    difference = (item.get("difference") or {}).get(metric) or {}
    there = ((item.get("metrics") or {}).get(metric) or {}).get("value")
    nearest = difference.get("high" if higher else "low")
    if there is None or nearest is None or difference.get("value") is None:
        return None
    sign = -1.0 if higher else 1.0
    return {"name": item.get("name", ""), "value": sign * difference["value"], "low": sign * nearest, "there": there}


RULE = rule
