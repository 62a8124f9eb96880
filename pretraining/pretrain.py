"""Pre-trains the embedded image model with unfreeze itself, with and without a teacher, and keeps the better one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)

from photos import teacher_features, write_table  # noqa: E402
from unfreeze import api  # noqa: E402
from unfreeze.planning import Plan  # noqa: E402
from unfreeze.progress import PlainLines  # noqa: E402
from unfreeze.recipe_io import load_recipe, with_values  # noqa: E402
from unfreeze.run import Run  # noqa: E402
from unfreeze.train.distillation import Distillation  # noqa: E402

HERE = Path(__file__).parent
STRENGTH = 3.0


def train(variant: str, shared: Path, work: Path, **changes: Any) -> Run:
    """One variant: plain, or distilled."""
    table = work / "photos.parquet"
    if not table.is_file():
        write_table(shared, table)
    values = {"data.path": str(table), "output.folder": str(work / variant), "output.overwrite": True, **changes}
    recipe = with_values(load_recipe(HERE / "recipe.yaml"), values)

    def hooks(plan: Plan) -> list[Distillation]:
        return [Distillation(teacher_features(plan.feeds["train"], shared, work / "teacher.safetensors"), STRENGTH)]

    return api.fit_recipe(recipe, progress=PlainLines(), hooks=hooks if variant == "distilled" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=["plain", "distilled"])
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=float)
    arguments = parser.parse_args()
    changes = {} if arguments.epochs is None else {"training.epochs": arguments.epochs}
    train(arguments.variant, arguments.shared, arguments.work, **changes)
