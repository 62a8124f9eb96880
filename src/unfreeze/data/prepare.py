"""From a source to examples: read, recognise, clean, split, and say what was done."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unfreeze.data import cleaning, fresh
from unfreeze.data.audit import contradictions, examine
from unfreeze.data.columns import Roles, recognise
from unfreeze.data.duplicates import digests
from unfreeze.data.manifest import (
    SPLITS,
    Examples,
    ImageRef,
    Input,
    Manifest,
    Prepared,
    Quarantined,
    Slice,
    SplitName,
    Table,
    Target,
)
from unfreeze.data.rows import Log, Rows, settle
from unfreeze.data.sequences import each, picked, shared, side_by_side
from unfreeze.data.slices import cell, groups_of, make_slice, said
from unfreeze.data.sources import Reading, ReadOptions, read_source
from unfreeze.data.sources._reading import joined, split_name
from unfreeze.data.splitting import split as split_rows
from unfreeze.data.suspects import without_suspects
from unfreeze.data.targets import Unfit, read_targets, recognise_task
from unfreeze.data.values import as_image, as_text, is_missing, nested
from unfreeze.errors import DataError, sentence
from unfreeze.progress import counted
from unfreeze.recipe import DataRecipe


def prepare(
    recipe: DataRecipe, *, task: str | None, seed: int, objects: object | None = None, slices: Sequence[str] = ()
) -> Prepared:
    """Everything between what the user named and the examples that are learned from.

    Parameters
    ----------
    task : "classification", "multilabel", "regression", or None to recognise it
    seed : of the splits and of `max_rows`, unless the recipe has one for them
    objects : data given in Python instead of `recipe.path`
    slices : columns whose groups travel with the examples, apart from the model's input

    Raises
    ------
    DataError
        If the data cannot be read or used; the message says which row, column or file.
    """
    seed = seed if recipe.split_seed is None else recipe.split_seed
    reading = _read(recipe, objects)
    table = reading.table
    log = Log(table, list(reading.quarantine), list(reading.findings))
    slices = tuple(dict.fromkeys(slices))
    roles = recognise(table, recipe, slices=slices)
    target_columns = [shared(table.columns[name]) for name in roles.targets]
    task, task_reason = recognise_task(target_columns, task, recipe.separator)
    targets = read_targets(target_columns, roles.targets, task, recipe.separator)
    rows = _rows(table, roles, targets, recipe, log)
    rows = _clean(rows, recipe, seed, log)
    rows, split_reason = split_rows(rows, roles, recipe, seed, log)
    rows = without_suspects(rows, recipe, log)
    rows = cleaning.unseen(rows, recipe, log)
    _refuse_unusable(rows, task, recipe, log)
    examine(rows, log)
    source = "Python objects" if objects is not None else str(recipe.path)
    groups = _groups(rows, slices, log)
    return _prepared(rows, roles, source, task, task_reason, split_reason, groups, log)


def inputs_of(source: str | Path | object, manifest: Manifest, recipe: DataRecipe) -> Examples:
    """`unlabelled` without the rows left out."""
    return unlabelled(source, manifest, recipe)[0]


def unlabelled(
    source: str | Path | object, manifest: Manifest, recipe: DataRecipe
) -> tuple[Examples, tuple[Quarantined, ...]]:
    """New data to predict for, read with the columns that the manifest records, and the rows left out.

    Targets are "" (nan for numbers). Rows that cannot be read are left out, or raise with `unreadable: fail`;
    `origin` names the rows that remain.
    """
    examples, bad = fresh.unlabelled(source, manifest, recipe)
    if not len(examples):
        reason = f" {bad[0].origin}: {sentence(bad[0].reason)}" if bad else ""
        raise DataError(f"There is no row to predict for.{reason}")
    return examples, bad


def labelled(
    source: str | Path | object, manifest: Manifest, recipe: DataRecipe
) -> tuple[Examples, tuple[Quarantined, ...]]:
    """New data to score, read with the columns and labels that the manifest records, and the rows left out."""
    return fresh.labelled(source, manifest, recipe)


def _read(recipe: DataRecipe, objects: object | None) -> Reading:
    """The source and, where named, the further sources of validation and test."""
    main = objects if objects is not None else recipe.path
    if main is None:
        raise DataError("No data: give a table, an image folder, a Hub data set or Python objects.")
    options = ReadOptions(recipe.encoding)
    reading = read_source(main, options)
    sources: dict[SplitName, str | None] = {"validation": recipe.validation, "test": recipe.test}
    further = {name: path for name, path in sources.items() if path}
    if not further:
        return reading
    parts: list[tuple[SplitName | None, Reading]] = [("train", reading)]
    for name, path in further.items():
        part = read_source(path, options)
        part.table.split = None
        _absolute(part.table)
        parts.append((name, part))
    _absolute(reading.table)
    return joined(parts)


def _absolute(table: Table) -> None:
    """Names of image files as images, so that tables of different folders can stand below each other."""
    from unfreeze.data.columns import holds_images

    for name, values in table.columns.items():
        if table.root is not None and holds_images(values):
            images = [as_image(value, table.root) for value in values]
            table.columns[name] = [v if isinstance(i, str) else i for v, i in zip(values, images, strict=True)]


def _rows(table: Table, roles: Roles, targets: Sequence[Any], recipe: DataRecipe, log: Log) -> Rows:
    """Rows with usable values; what cannot be one is left out as unreadable."""
    inputs, ill = _inputs(table, roles)
    ill |= {i: str(target) for i, target in enumerate(targets) if isinstance(target, Unfit)}
    splits: list[SplitName | None] = list(table.split) if table.split else [None] * len(table)
    if roles.split:
        values = shared(table.columns[roles.split])
        splits = [split_name(value) for value in values]
        ill |= {
            i: f"split '{as_text(values[i])}' is none of train, validation, test"
            for i, split in enumerate(splits)
            if split is None
        }
    count = len(table)
    groups: list[str | None] = [None] * count
    if roles.group:
        groups = shared(None if is_missing(value) else as_text(value) for value in table.columns[roles.group])
    rows = Rows(inputs, shared(targets), groups, splits, table.origin, np.arange(count))
    if ill and len(ill) == count:
        raise DataError(f"No row can be used; {table.origin[0]}: {sentence(ill[0])}")
    return settle(rows, ill, recipe.unreadable, "unreadable", "unreadable", "rows have values that cannot be used", log)


def _inputs(table: Table, roles: Roles) -> tuple[Sequence[Input | None], dict[int, str]]:
    """One input per row (None where it is missing), and why some cannot be read."""
    columns = [table.columns[name] for name in roles.inputs]
    if roles.modality == "image":
        found = [None if is_missing(value) else as_image(value, table.root) for value in columns[0]]
        ill = {i: image for i, image in enumerate(found) if isinstance(image, str)}
        return [image if isinstance(image, ImageRef) else None for image in found], ill
    texts = [each(as_text, column) for column in columns]
    ill = {
        i: f"column '{name}' {why}"
        for name, column in zip(roles.inputs, columns, strict=True)
        for i, value in enumerate(column)
        if (why := nested(value))
    }
    return (texts[0] if len(texts) == 1 else side_by_side(*texts)), ill


def _clean(rows: Rows, recipe: DataRecipe, seed: int, log: Log) -> Rows:
    """Everything that can be said of a row before it is known in which split it will be."""
    rows = cleaning.missing(rows, recipe, log)
    rows = cleaning.label_variants(rows, recipe, log)
    if recipe.max_rows is not None:
        keys = digests(item for item in rows.inputs if item is not None)
        rows = cleaning.at_most(rows, recipe, seed, keys, log)
    rows = cleaning.unreadable(rows, recipe, log)
    if not len(rows):
        raise DataError(f"No row is left after cleaning.{log.left_out()}")
    rows = rows.with_(digests=digests((item for item in rows.inputs if item is not None), rows.facts))
    rows = cleaning.duplicates(rows, recipe, log)
    contradictions(rows, log)
    return rows


def _refuse_unusable(rows: Rows, task: str, recipe: DataRecipe, log: Log) -> None:
    """One class, one value, or a split without rows: nothing can be learned or measured."""
    labels = sorted({label for target in rows.targets for label in cleaning.labels_of(target)})
    if not len(rows) or "train" not in rows.splits:
        raise DataError(f"No training row is left after cleaning.{log.left_out()}")
    if task == "classification" and len(labels) < 2:
        raise DataError(
            f"There is only one class ({labels[0]!r}) in {counted(len(rows), 'row')}; at least two are needed."
            f"{log.left_out()}"
        )
    if task == "multilabel" and not labels:
        raise DataError("No row has any label.")
    counts = Counter(rows.splits)
    if task == "regression" and len({t for t, s in zip(rows.targets, rows.splits, strict=True) if s == "train"}) < 2:
        raise DataError("The target has fewer than two distinct values in the training rows.")
    wanted = [s for s, share in (("validation", recipe.validation_share), ("test", recipe.test_share)) if share > 0]
    for split in ("train", *wanted):
        if not counts[split]:  # type: ignore[index]
            raise DataError(
                f"Too few rows: {counted(len(rows), 'row')} give none for {split}"
                + (f" (groups of '{recipe.group}' stay whole)" if recipe.group else "")
                + f". Add rows, or name the split's own source.{log.left_out()}"
            )


def _groups(rows: Rows, names: Sequence[str], log: Log) -> list[tuple[Slice, list[str]]]:
    """For each slice its groups, and the group of each row."""
    found = []
    for name in names:
        column = log.table.columns[name]
        values = shared(map(cell, picked(column, rows.number)))
        made = make_slice(name, values)
        groups = groups_of(made, values)
        log.note("slices", "info", said(made, Counter(groups)), len(made.groups), made.groups[:3])
        found.append((made, groups))
    return found


def _prepared(
    rows: Rows,
    roles: Roles,
    source: str,
    task: str,
    task_reason: str,
    split_reason: str,
    groups: Sequence[tuple[Slice, list[str]]],
    log: Log,
) -> Prepared:
    splits: dict[SplitName, Examples] = {}
    for split in SPLITS:
        places = np.flatnonzero(np.fromiter((one == split for one in rows.splits), bool, len(rows)))
        inputs, targets, origin = (picked(of, places) for of in (rows.inputs, rows.targets, rows.origin))
        meta = {made.column: picked(names, places) for made, names in groups}
        splits[split] = Examples(inputs, targets, origin, meta=meta)
    labels = {label for target in rows.targets for label in cleaning.labels_of(target)}
    train = [t for t in splits["train"].targets if isinstance(t, float)]
    manifest = Manifest(
        source=source,
        modality=roles.modality,
        task=task,
        task_reason=task_reason,
        columns=roles.columns,
        labels=tuple(sorted(labels, key=_label_order)),
        rows={split: len(part) for split, part in splits.items()},
        counts={split: _counts(part.targets) for split, part in splits.items()},
        split_reason=split_reason,
        fingerprint=_fingerprint(rows, [names for _, names in groups]),
        findings=tuple(log.findings),
        quarantined=len(log.quarantine),
        target_mean=float(np.mean(train)) if train else 0.0,
        target_scale=float(np.std(train)) or 1.0 if train else 1.0,
        slices=tuple(made for made, _ in groups),
    )
    return Prepared(manifest, splits, tuple(log.quarantine))


def _label_order(label: str) -> tuple[int, int, str]:
    """Whole numbers by value, then words."""
    return (0, int(label), label) if label.removeprefix("-").isdecimal() else (1, 0, label)


def _counts(targets: Sequence[Target]) -> dict[str, int]:
    if targets and isinstance(targets[0], float):
        return {"": len(targets)}
    counts = Counter(label for target in targets for label in cleaning.labels_of(target))
    return {label: counts[label] for label in sorted(counts, key=_label_order)}


def _fingerprint(rows: Rows, groups: Sequence[Sequence[str]]) -> str:
    """sha256 over content, target, split and, where there are slices, groups of every row, in order."""
    total = hashlib.sha256()
    for i, (item, key, target, split) in enumerate(
        zip(rows.inputs, rows.digests, rows.targets, rows.splits, strict=True)
    ):
        # The key of a text forgives its spaces; a tokenizer may not.
        content = key.tobytes().hex() if isinstance(item, ImageRef) else repr(item)
        among = "".join(f"\t{names[i]!r}" for names in groups)
        total.update(f"{content}\t{target!r}\t{split}{among}\n".encode("utf-8", "replace"))
    return total.hexdigest()
