"""Evidence: what is a usual distance from the validation rows' classes, and which test rows lie beyond it."""

from __future__ import annotations

from typing import Any

import numpy as np

from unfreeze.evaluation.out_of_distribution import FOLDS, fit_reference, separation
from unfreeze.evaluation.resampling import resample, widened
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card

PERCENTILES = (90, 95, 99)
"""Of the validation rows' distances, beyond which test rows are counted."""

FURTHEST = 10
CHARACTERS = 200


def collect(context: Context) -> dict[str, Any] | None:
    """Fit distributions to validation rows' head inputs, keep them beside the model, and place the test rows."""
    if "validation" not in context.kept:
        return None
    features = context.features("validation")
    classes = context.targets("validation") if context.task.name == "classification" else None
    reference = fit_reference(features, classes, context.recipe.seed)
    if reference is None:
        return None
    folder = context.folder / "model"
    if folder.is_dir():
        reference.write(folder)
    found: dict[str, Any] = {
        "rows": len(features),
        "width": features.shape[1],
        "classes": len(reference.centres),
        "directions": reference.directions.shape[1],
        "folds": FOLDS,
        "distance": {
            str(share): float(np.quantile(reference.distances.numpy(), share / 100)) for share in (50, 95, 99)
        },
    }
    if "test" in context.kept:
        distances = reference.distance(context.features("test"))
        percentiles = reference.percentile(context.features("test"))
        beyond = np.stack([percentiles >= share for share in PERCENTILES], axis=1)
        drawn = resample(beyond, context.recipe.evaluation.bootstrap, context.recipe.seed)
        found["test"] = {
            "rows": len(distances),
            "beyond": [
                {"percentile": share, "share": widened(drawn.column(place), len(distances))}
                for place, share in enumerate(PERCENTILES)
            ],
            "against_validation": separation(reference.distances.numpy(), distances),
            "furthest": [_row(context, int(row), percentiles[row]) for row in np.argsort(-distances)[:FURTHEST]],
        }
    return found


def _row(context: Context, row: int, percentile: float) -> dict[str, Any]:
    examples = context.feeds["test"].examples
    item = examples.inputs[row]
    words = " / ".join(item) if isinstance(item, tuple) else item if isinstance(item, str) else ""
    return {"origin": examples.origin[row], "text": words[:CHARACTERS], "percentile": float(percentile)}


EVIDENCE = Evidence(
    Card(
        what="how far test rows lie from the validation rows' classes; predictions tell it of new rows",
        when="predictions are made for rows that may be of another kind than those that were learned from",
        cost="no pass of the model; a small file beside it, of class means and at most 128 directions",
        evidence="good at telling other data sets and corrupted images apart, worse where new classes are close to "
        "known ones (arXiv:2106.09022)",
        source="Lee et al. 2018, arXiv:1807.03888",
    ),
    collect,
    order=21,
)
