"""Scoring reads every row once, in eval mode and without gradients, and hands over outputs by row."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from small import BASE
from torch import Tensor

import unfreeze
from unfreeze.api import make_job
from unfreeze.progress import Silent
from unfreeze.train.job import Job
from unfreeze.train.order import TOKENS
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


SIZES = {"rows": (1, 5, 64), "tokens": (1, 40, 4096)}


def test_each_row_is_scored_once_whatever_the_batch_size(home: Path) -> None:
    kept: dict[str, dict[int, Tensor]] = {}
    for size in (f"{unit} {size}" for unit, sizes in SIZES.items() for size in sizes):
        unit, _, number = size.partition(" ")
        option = "evaluation__batch_size" if unit == "rows" else "evaluation__batch_tokens"
        job = a_job(home, **{option: int(number)})
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
    for size, row in product(kept, range(18)):
        torch.testing.assert_close(kept["rows 1"][row], kept[size][row], rtol=1e-4, atol=1e-6)


def test_short_texts_are_read_in_larger_batches(home: Path) -> None:
    """With the tokens that the longest have in batches of four; rows that are asked for win."""
    by_tokens = a_job(home, evaluation__batch_tokens=4 * max(a_job(home).train.lengths))
    assert by_tokens.evaluation_batch_size == 4
    batches = by_tokens.reading_batches(by_tokens.train)
    lengths = by_tokens.train.lengths
    assert all(len(rows) * lengths[rows[0]] <= 4 * max(lengths) for rows in batches)
    assert len(batches[0]) <= 4 < max(len(rows) for rows in batches)
    assert by_tokens.reading_batches(by_tokens.train, 2) != by_tokens.reading_batches(by_tokens.train)
    by_rows = a_job(home, evaluation__batch_size=5, evaluation__batch_tokens=1000)
    assert {len(rows) for rows in by_rows.reading_batches(by_rows.train)[:-1]} == {5}


def test_figures_do_not_depend_on_it(home: Path) -> None:
    options = ({"evaluation__batch_size": 1}, {"evaluation__batch_size": 7}, {"evaluation__batch_tokens": 60}, {})
    found = []
    for each in options:
        job = a_job(home, **each)
        assert job.validation is not None
        found.append(score(job, job.validation).compute())
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)


def test_the_plan_says_how_many_tokens(home: Path) -> None:
    recipe = a_job(home).recipe
    assert (recipe.evaluation.batch_size, recipe.evaluation.batch_tokens) == (None, TOKENS)
