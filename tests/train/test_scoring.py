"""Scoring reads every row once, in eval mode and without gradients, and hands over outputs by row."""

from __future__ import annotations

from pathlib import Path

import torch
from small import BASE
from torch import Tensor

import unfreeze
from unfreeze.api import make_job
from unfreeze.progress import Silent
from unfreeze.train.job import Job
from unfreeze.train.scoring import score


def a_job(home: Path, **options: object) -> Job:
    made = unfreeze.plan(
        home / "table.csv",
        str(home / "bert"),
        target="label",
        split="split",
        method="full",
        epochs=1,
        **BASE,
        **options,
    )
    return make_job(made, Path(), Silent())


def test_each_row_is_scored_once_whatever_the_batch_size(home: Path) -> None:
    kept: dict[int, dict[int, Tensor]] = {}
    for size in (1, 5, 64):
        job = a_job(home, evaluation__batch_size=size)
        assert job.validation is not None
        seen = kept.setdefault(size, {})

        def keep(rows: object, outputs: Tensor, seen: dict[int, Tensor] = seen) -> None:
            assert not outputs.requires_grad
            seen.update(zip(rows, outputs.clone(), strict=True))  # type: ignore[call-overload]

        job.working.module.train()
        scorer = score(job, job.validation, keep=keep)
        assert not job.working.module.training
        assert sorted(seen) == list(range(18))
        targets = job.validation.targets
        right = sum(int(outputs.argmax() == targets[row]) for row, outputs in seen.items())
        assert scorer.compute()["accuracy"] == right / 18
    for row in range(18):
        torch.testing.assert_close(kept[1][row], kept[64][row], rtol=1e-4, atol=1e-6)
