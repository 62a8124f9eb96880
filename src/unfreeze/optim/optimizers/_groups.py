"""What several optimizers do with their parameter groups."""

from __future__ import annotations

from typing import Any

COUPLED = 0.01


def fusable(groups: list[dict[str, Any]]) -> bool:
    """Whether torch has one kernel for the whole update of these parameters."""
    params = [value for group in groups for value in group["params"]]
    return all(value.device.type in ("cpu", "cuda") and value.is_floating_point() for value in params)


def scale_decay(groups: list[dict[str, Any]], factor: float) -> list[dict[str, Any]]:
    """The same groups with their weight decay times a factor.

    A recipe's weight decay is AdamW's, which shrinks a weight by rate times decay at each update. Where
    decay is part of the gradient instead (`COUPLED`) it is not divided by the gradient's own size as the
    rest is, or the rate is a hundred times higher; a hundredth is the customary strength there: 1e-4.
    """
    return [{**group, "weight_decay": group.get("weight_decay", 0.0) * factor} for group in groups]
