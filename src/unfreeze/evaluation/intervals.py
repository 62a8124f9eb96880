"""How sure a figure is: each metric with its interval."""

from __future__ import annotations

from unfreeze.tasks._task import Scorer


def with_intervals(scorer: Scorer, resamples: int, seed: int) -> dict[str, dict[str, float | None]]:
    """Each metric of a scorer as `value`, and `low` and `high` of its 95 % interval (None without resamples)."""
    intervals = scorer.intervals(resamples, seed)
    return {
        name: dict(zip(("value", "low", "high"), (value, *intervals.get(name, (None, None))), strict=True))
        for name, value in scorer.compute().items()
    }
