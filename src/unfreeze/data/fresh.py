"""New data for a trained model: read with the columns and labels that its manifest records."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unfreeze.data import cleaning, names
from unfreeze.data.images import probe_all
from unfreeze.data.manifest import Examples, ImageRef, Input, Manifest, Quarantined, Table, Target
from unfreeze.data.sequences import Array, each, origins, picked, shared, side_by_side
from unfreeze.data.slices import cell, groups_of
from unfreeze.data.sources import Reading, ReadOptions, read_source, there
from unfreeze.data.sources._reading import IMAGE_SUFFIXES, split_name
from unfreeze.data.sources._text import read_lines
from unfreeze.data.sources.image_folder import holds_class_folders
from unfreeze.data.stored import gathered
from unfreeze.data.targets import read_targets
from unfreeze.data.values import (
    as_image,
    as_number,
    as_text,
    is_missing,
    is_missing_target,
    nested,
    plain,
    whole_characters,
)
from unfreeze.errors import DataError, nearest, sentence
from unfreeze.recipe import DataRecipe


def unlabelled(source: object, manifest: Manifest, recipe: DataRecipe) -> tuple[Examples, tuple[Quarantined, ...]]:
    """Inputs to predict for, and the rows that cannot be read. Targets are "" or nan."""
    reading = _read(source, manifest, recipe)
    inputs, bad = _inputs(reading.table, manifest, recipe)
    keep = _without(bad, len(inputs))
    blank: Target = float("nan") if manifest.task == "regression" else () if manifest.task == "multilabel" else ""
    return _examples(reading, manifest, inputs, [blank] * len(inputs), keep), _left_out(reading, bad)


def labelled(source: object, manifest: Manifest, recipe: DataRecipe) -> tuple[Examples, tuple[Quarantined, ...]]:
    """Rows to score a trained model on; those without a usable input, or without a target it knows, are left out.

    Raises
    ------
    DataError
        If the target column is missing, or no row can be scored.
    """
    reading = _read(source, manifest, recipe)
    split = _keep_test_rows(reading, manifest)
    table = reading.table
    inputs, bad = _inputs(table, manifest, recipe)
    targets, ill = _targets(table, manifest, recipe)
    bad = ill | bad
    if recipe.missing == "drop":
        blank = {i for i, item in enumerate(inputs) if any(is_missing(x) for x in _texts(item))}
        bad = {**dict.fromkeys(blank, "missing text"), **bad}
    keep = _without(bad, len(inputs))
    if not len(keep):
        reason = f" For instance {table.origin[min(bad)]}: {sentence(bad[min(bad)])}" if bad else ""
        raise DataError(f"No row of {_called(source)} can be scored.{reason}")
    return replace(_examples(reading, manifest, inputs, targets, keep), split=split), _left_out(reading, bad)


def _keep_test_rows(reading: Reading, manifest: Manifest) -> str:
    """Of data that have splits only the test is scored: the model may have learned the rest. Returns "test" then."""
    table = reading.table
    column = next((c.name for c in manifest.columns if c.role == "split" and c.name in table.columns), None)
    splits: Sequence[str | None] = table.split or (
        [split_name(value) for value in table.columns[column]] if column else []
    )
    keep = np.flatnonzero(np.fromiter((split == "test" for split in splits), bool, len(splits)))
    if not len(keep) or len(keep) == len(table):
        return ""
    columns = {name: picked(values, keep) for name, values in table.columns.items()}
    reading.table = Table(columns, picked(table.origin, keep), root=table.root)
    return "test"


def _texts(item: Input | None) -> tuple[str, ...]:
    return item if isinstance(item, tuple) else (item,) if isinstance(item, str) else ()


def _read(source: object, manifest: Manifest, recipe: DataRecipe) -> Reading:
    """Any source, and beside those a single image, a folder of images, and lines of text."""
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    if path is not None and manifest.modality == "image" and there(path):
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            return _images([path], path.parent)
        if path.is_dir() and not holds_class_folders(path):
            files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != ".")
            if files:
                return _images(files, path)
    if path is not None and manifest.modality == "text" and path.name.endswith((".txt", ".txt.gz")) and there(path):
        found, findings = read_lines(path, recipe.encoding, ends="\n")
        numbers = array("q")
        column = gathered(_texts_of(found, numbers))
        return Reading(Table({"text": column}, origins(f"{path.name}, line", numbers)), findings=findings)
    if path is not None and manifest.modality == "text" and path.suffix.lower() in IMAGE_SUFFIXES:
        raise DataError(f"'{source}' is an image, while the model reads texts.")
    if isinstance(source, str) and any(map(str.isspace, source)) and not there(Path(source)):
        raise DataError(
            f"There is no file '{whole_characters(source)[:80]}'. Texts are given in a table, in a .txt file with one"
            " text per line or, in Python, as a list."
        )
    return read_source(source, ReadOptions(recipe.encoding))


def _texts_of(lines: Iterable[str], numbers: array[int]) -> Iterator[str]:
    """The lines that are not blank; their numbers are added to those given."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            numbers.append(number)
            yield line.removesuffix("\n").rstrip("\r").encode("utf-8", "replace").decode()


def _images(files: Sequence[Path], root: Path) -> Reading:
    inside = [path for path in files if path.resolve().is_relative_to(root.resolve())]
    table = Table({"image": [ImageRef(path=path) for path in inside]}, [path.name for path in inside], root=root)
    out = [Quarantined(path.name, "a link that leaves the data folder") for path in files if path not in inside]
    return Reading(table, out)


def _columns(table: Table, manifest: Manifest, recipe: DataRecipe) -> list[str]:
    """The input columns: as recorded, as named in the recipe, the only ones there, or called what such columns are."""
    roles = ("image",) if manifest.modality == "image" else ("text", "pair")
    recorded = [column.name for role in roles for column in manifest.columns if column.role == role]
    asked = [name for name in ((recipe.image,) if roles == ("image",) else (recipe.text, recipe.pair)) if name]
    usual = ["image"] if roles == ("image",) else ["text"] if len(recorded) == 1 else ["text1", "text2"]
    other = {column.name for column in manifest.columns if column.role not in roles}
    free = [name for name in table.columns if name not in other]
    for names_ in (asked, recorded, usual, free):
        if len(names_) == len(recorded) and all(name in table.columns for name in names_):
            return names_
    like = [name for name in free if names.plain(name) in (names.IMAGE if roles == ("image",) else names.TEXT)]
    if len(recorded) == 1 and like:
        return like[:1]
    lacking = next((name for name in recorded if name not in table.columns), recorded[0])
    raise DataError(
        f"The new data have no column '{lacking}', which the model reads. {nearest(lacking, table.columns)}"
    )


def _inputs(table: Table, manifest: Manifest, recipe: DataRecipe) -> tuple[Sequence[Input | None], dict[int, str]]:
    columns = [table.columns[name] for name in _columns(table, manifest, recipe)]
    if manifest.modality == "text":
        ill = {i: why for column in columns for i, value in enumerate(column) if (why := _no_text(value))}
        texts = [each(as_text, column) for column in columns]
        return (texts[0] if len(texts) == 1 else side_by_side(*texts)), ill
    found = ["missing image" if is_missing(value) else as_image(value, table.root) for value in columns[0]]
    bad = {i: image for i, image in enumerate(found) if isinstance(image, str)}
    good = [(i, image) for i, image in enumerate(found) if isinstance(image, ImageRef)]
    facts = probe_all([image for _, image in good], recipe.max_pixels)
    bad |= {i: fact for (i, _), fact in zip(good, facts, strict=True) if isinstance(fact, str)}
    if bad and recipe.unreadable == "fail":
        first = min(bad)
        raise DataError(f"{len(bad)} images cannot be read; {table.origin[first]}: {bad[first]}")
    return [image if isinstance(image, ImageRef) else None for image in found], bad


def _no_text(value: Any) -> str:
    """Why a cell is no text for a model that reads texts; "" for every other cell."""
    return "an image, while the model reads texts" if isinstance(value, ImageRef | bytes) else nested(value)


def _targets(table: Table, manifest: Manifest, recipe: DataRecipe) -> tuple[list[Any], dict[int, str]]:
    """Targets in the spelling of the manifest's labels, and why some cannot be used."""
    recorded = [column.name for column in manifest.columns if column.role == "target"]
    asked = [recipe.target] if isinstance(recipe.target, str) else list(recipe.target or [])
    chosen = next((c for c in (asked, recorded) if c and all(name in table.columns for name in c)), None)
    if chosen is None and len(recorded) == 1 and "label" in table.columns:
        chosen = ["label"]
    if chosen is None:
        lacking = next((name for name in recorded if name not in table.columns), "")
        raise DataError(f"The data to score have no target column '{lacking}'. {nearest(lacking, table.columns)}")
    columns = [shared(table.columns[name]) for name in chosen]
    if manifest.task == "classification":
        raw: list[Any] = [None if is_missing_target(value) else value for value in columns[0]]
    else:
        separator = recipe.separator or _separator(columns[0], manifest)
        raw = list(read_targets(columns, chosen, manifest.task, separator))
    known = {cleaning.folded(label): label for label in manifest.labels} | {label: label for label in manifest.labels}
    targets: list[Target | None] = []
    ill: dict[int, str] = {}
    for i, value in enumerate(raw):
        target, reason = _known(value, manifest, known)
        targets.append(target)
        if reason:
            ill[i] = reason
    return shared(targets), ill


def _known(value: Any, manifest: Manifest, known: dict[str, str]) -> tuple[Target | None, str]:
    """A target that the model knows, or the reason why there is none."""
    if value is None:
        return None, "missing target"
    if manifest.task == "regression":
        return (value, "") if isinstance(value, float) else (None, str(value))
    if isinstance(value, str) and manifest.task == "multilabel":
        return None, str(value)
    parts = value if manifest.task == "multilabel" else (value,)
    found = [_spelling(part, known) for part in parts]
    if None in found:
        odd = str(plain(parts[found.index(None)]))
        return None, f"the model has no label '{odd[:60]}'. {nearest(odd, manifest.labels)}"
    labels = tuple(sorted({label for label in found if label is not None}))
    return (labels if manifest.task == "multilabel" else labels[0]), ""


def _spelling(value: Any, known: dict[str, str]) -> str | None:
    text, number = str(value), as_number(value)
    whole = str(int(number)) if number is not None and number == int(number) else None
    return next((known[key] for key in (text, cleaning.folded(text), whole) if key in known), None)


def _separator(values: Sequence[Any], manifest: Manifest) -> str | None:
    """The mark that cuts the most cells into labels that the model knows."""
    texts = [value for value in values if isinstance(value, str) and value.strip() and value not in manifest.labels]

    def fits(mark: str) -> int:
        return sum(all(p.strip() in manifest.labels for p in re.split(re.escape(mark), text)) for text in texts)

    best = max("|;,", key=fits)
    return best if texts and fits(best) else None


def _without(bad: Mapping[int, str], count: int) -> Array:
    """The rows that are not bad."""
    good = np.ones(count, dtype=bool)
    good[list(bad)] = False
    return np.flatnonzero(good)


def _examples(
    reading: Reading, manifest: Manifest, inputs: Sequence[Any], targets: Sequence[Any], keep: Array
) -> Examples:
    table = reading.table
    meta = {
        known.column: groups_of(known, shared(map(cell, picked(table.columns[known.column], keep))))
        for known in manifest.slices
        if known.column in table.columns
    }
    return Examples(picked(inputs, keep), picked(targets, keep), picked(table.origin, keep), meta=meta)


def _left_out(reading: Reading, bad: dict[int, str]) -> tuple[Quarantined, ...]:
    table = reading.table
    rows = [
        Quarantined(table.origin[i], reason, {n: plain(c[i]) for n, c in table.columns.items()})
        for i, reason in sorted(bad.items())
    ]
    return (*reading.quarantine, *rows)


def _called(source: object) -> str:
    return f"'{source}'" if isinstance(source, str | Path) else "the data given"
