"""Splits that are given are cleaned of leaks; those that are not are drawn from the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unfreeze.data import cleaning
from unfreeze.data.columns import Roles
from unfreeze.data.duplicates import clusters, near_images, near_texts, same_key
from unfreeze.data.manifest import SPLITS, SplitName
from unfreeze.data.rows import Log, Rows
from unfreeze.data.sequences import Array
from unfreeze.data.splits import draw, strata
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe


def split(rows: Rows, roles: Roles, recipe: DataRecipe, seed: int, log: Log) -> tuple[Rows, str]:
    """Rows that all have a split, and the sentence that says how they came to it.

    Raises
    ------
    DataError
        If there are no training rows, or the shares leave none.
    """
    given = [split for split in SPLITS if split in set(rows.splits)]
    if given and "train" not in given:
        raise DataError(f"There is no training row; the data have only {' and '.join(given)}.")
    rows = rows.with_(kin=kin(rows))
    if len(given) > 1:
        rows = _without_leaks(rows, roles, recipe, log)
    rows = cleaning.rare(rows, recipe, log)
    asked: dict[SplitName, float] = {"validation": recipe.validation_share, "test": recipe.test_share}
    shares = {split: share for split, share in asked.items() if split not in given and share > 0}
    if not shares:
        lacking = [split for split in SPLITS if split not in given and split != "train"]
        none = f"; no {' and no '.join(lacking)}, since its share is 0" if lacking else ""
        return rows.with_(splits=[split or "train" for split in rows.splits]), f"{_listed(given)} were given{none}"
    if sum(shares.values()) >= 1:
        raise DataError("data.validation_share and data.test_share must leave rows for training (sum below 1).")
    pool = np.flatnonzero(np.fromiter((split in (None, "train") for split in rows.splits), bool, len(rows)))
    some = rows if len(pool) == len(rows) else rows.only(pool)
    drawn = _drawn(some, {"train": 1 - sum(shares.values()), **shares}, seed)
    splits = list(rows.splits)
    for row, split in zip(pool.tolist(), drawn, strict=True):
        splits[row] = split
    return rows.with_(splits=splits), _reason(given, shares, roles, seed)


def kin(rows: Rows) -> Array:
    """The cluster of exact and near duplicates that each row is in, named by its first row."""
    near = near_images(rows.facts) if len(rows.facts) else near_texts(rows.inputs)  # type: ignore[arg-type]
    return clusters(len(rows), same_key(rows.digests.view(np.uint64)), near)


def _drawn(rows: Rows, shares: dict[SplitName, float], seed: int) -> list[SplitName]:
    """Draw units of rows that share a group or are duplicates of each other."""
    unit = clusters(len(rows), same_key(rows.kin), same_key(rows.groups))
    kinds = strata([target for target in rows.targets if target is not None])
    return draw(rows.digests, unit, kinds, shares, seed)


def _reason(given: list[SplitName], shares: dict[SplitName, float], roles: Roles, seed: int) -> str:
    drawn = " and ".join(f"{split} ({share:.0%})" for split, share in shares.items())
    by = f", whole groups of '{roles.group}'" if roles.group else ""
    how = f"drawn by seed {seed}, stratified by target{by}, duplicates together"
    if len(given) > 1:
        return f"{_listed(given)} were given; {drawn} was cut from the training rows, {how}"
    return f"{drawn} {'were' if len(shares) > 1 else 'was'} {how}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _without_leaks(rows: Rows, roles: Roles, recipe: DataRecipe, log: Log) -> Rows:
    """Rows that stand in a later split too, and groups that two splits share (only told unless the recipe names it)."""
    rows = cleaning.leaks(rows, rows.kin, recipe, log, kind="leak", what="exactly or nearly the same input")
    if roles.group:
        unit = clusters(len(rows), same_key(rows.groups))
        policy = recipe if recipe.group else replace(recipe, leaks="keep")
        rows = cleaning.leaks(rows, unit, policy, log, kind="group_shared", what=f"the same '{roles.group}'")
    if "train" not in rows.splits:
        raise DataError("Every training row leaks into validation or test; set data.leaks=keep to train all the same.")
    return rows
