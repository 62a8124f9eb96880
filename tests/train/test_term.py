"""A hook's term in the loop: of the rows just read, and worth the same however a batch is split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfreeze import api
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import with_values
from unfreeze.train.distillation import head_of
from unfreeze.train.hooks import Hook, LoopState

BATCH, WORTH = 6, 1000.0


class BiasTerm(Hook):
    """Its gradient is the same for every row, so that it must be the same for every split of a batch."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []
        self.read: list[int] = []
        self.gradients: list[Tensor] = []

    def term(self, loop: LoopState, rows: Sequence[int]) -> Tensor:
        self.read.append(len(rows))
        self.rows.append(list(rows))
        return WORTH * head_of(loop).bias.sum()

    def after_backward(self, loop: LoopState) -> None:
        grad = head_of(loop).bias.grad
        assert grad is not None
        self.gradients.append(grad.clone())


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(12):
            pixels = draw.integers(0, 120, (16, 16, 3)) + (120 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / label / f"{number}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_a_term_is_of_the_rows_just_read_and_weighs_the_same_in_parts(
    pictures: Path, tmp_path: Path, micro_batch: int | None
) -> None:
    values = {
        "data.path": str(pictures),
        "model.image_size": 32,
        "method.name": "head",
        "training.epochs": 1,
        "training.batch_size": BATCH,
        "training.micro_batch": micro_batch,
        "training.precision": "float32",
        "evaluation.gate": "inline",
        "evaluation.bootstrap": 0,
        "output.folder": str(tmp_path / "run"),
    }
    hook = BiasTerm()
    run = api.fit_recipe(with_values(Recipe(), values), hooks=lambda plan: [hook])
    count = run.manifest.rows["train"]
    assert sorted(row for rows in hook.rows for row in rows) == list(range(count))
    assert max(hook.read) == (micro_batch or BATCH)
    for gradient in hook.gradients:
        torch.testing.assert_close(gradient, torch.full_like(gradient, WORTH), rtol=0, atol=2)
