"""What a person should know about the data, beyond what cleaning left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from unfreeze.data.cleaning import in_company, labels_of
from unfreeze.data.duplicates import first_rows
from unfreeze.data.images import ImageFacts
from unfreeze.data.manifest import SPLITS, Examples, Finding
from unfreeze.data.rows import Log, Rows

_IMBALANCE = 5
_CHANNELS = {"L": 1, "1": 1, "P": 3, "RGB": 3, "RGBA": 4, "LA": 2, "CMYK": 4, "I;16": 1, "I": 1, "F": 1}


def examine(rows: Rows, log: Log) -> None:
    """Add findings about near duplicates, classes and images."""
    _near_duplicates(rows, log)
    _imbalance(rows, log)
    _absent(rows, log)
    _images(rows.facts, log)


def longer_than_model(examples: Examples, lengths: Sequence[int], max_length: int) -> Finding:
    """Texts of which the model reads only the beginning.

    Parameters
    ----------
    lengths : tokens of each text, before truncation
    max_length : tokens that the model reads
    """
    long = [i for i, length in enumerate(lengths) if length > max_length]
    share = len(long) / max(1, len(lengths))
    where = tuple(f"{examples.origin[i]}: {lengths[i]} tokens" for i in long[:3])
    message = (
        f"{len(long)} of {len(lengths)} texts ({share:.1%}) are longer than the {max_length} tokens that are read."
    )
    return Finding("long_text", "warning" if share > 0.05 else "info", message, len(long), where)


def _near_duplicates(rows: Rows, log: Log) -> None:
    near, exact, own = first_rows(rows.kin), first_rows(rows.digests.view(np.uint64)), np.arange(len(rows))
    others = np.flatnonzero((near != own) & (exact == own)).tolist()
    if others:
        shown = tuple(f"{rows.origin[i]} is like {rows.origin[near[i]]}" for i in others[:3])
        text = f"{len(others)} rows are nearly the same as another; splits that are drawn keep such rows together."
        log.note("near_duplicates", "info", text, len(others), shown)


def contradictions(rows: Rows, log: Log) -> None:
    """Inputs that occur with different targets, in the same split or in two."""
    targets: dict[int, dict[object, int]] = defaultdict(dict)
    keys = first_rows(rows.digests.view(np.uint64))
    for i in in_company(keys).tolist():
        targets[int(keys[i])].setdefault(rows.targets[i], i)
    several = [found for found in targets.values() if len(found) > 1]
    if several:
        shown = tuple(
            " and ".join(f"{rows.origin[i]} ({show(target)})" for target, i in list(found.items())[:2])
            for found in several[:3]
        )
        text = f"{len(several)} inputs occur with different targets."
        log.note("contradictory", "warning", text, len(several), shown)


def show(target: object) -> str:
    """A target for people."""
    return ", ".join(map(str, target)) or "no label" if isinstance(target, tuple) else str(target)


def _imbalance(rows: Rows, log: Log) -> None:
    pairs = zip(rows.targets, rows.splits, strict=True)
    counts = Counter(label for target, split in pairs if split == "train" for label in labels_of(target))
    if len(counts) < 2:
        return
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    if high >= _IMBALANCE * low:
        text = f"Classes are unequal: '{most}' has {high} training rows, '{least}' {low}."
        log.note("imbalance", "warning", text, len(counts), (f"{most}: {high}", f"{least}: {low}"))


def _absent(rows: Rows, log: Log) -> None:
    seen: dict[str, set[str]] = {split: set() for split in SPLITS}
    for target, split in zip(rows.targets, rows.splits, strict=True):
        seen[split or "train"].update(labels_of(target))
    for split in SPLITS[1:]:
        lacking = sorted(seen["train"] - seen[split])
        if lacking and seen[split]:
            text = f"{len(lacking)} classes have no row in {split}: their score there says nothing."
            log.note("class_absent", "warning", text, len(lacking), tuple(lacking[:3]))


def _images(facts: Sequence[ImageFacts], log: Log) -> None:
    if not facts:
        return
    sides = sorted((fact.width, fact.height) for fact in facts)
    sizes = Counter(sides)
    middle = sorted(min(side) for side in sides)[len(sides) // 2]
    small, large = min(sides, key=lambda s: s[0] * s[1]), max(sides, key=lambda s: s[0] * s[1])
    text = f"Images are {small[0]}×{small[1]} to {large[0]}×{large[1]} pixels; the median shorter side is {middle}."
    text = f"All images are {small[0]}×{small[1]} pixels." if len(sizes) == 1 else text
    log.note("image_sizes", "info", text, len(sizes))
    modes = Counter(fact.mode for fact in facts)
    text = "Image modes: " + ", ".join(f"{mode} ({count})" for mode, count in modes.most_common()) + "."
    mixed = len({_CHANNELS.get(mode, 0) for mode in modes}) > 1
    log.note("image_channels", "warning" if mixed else "info", text, len(modes))
    moving = sum(fact.frames > 1 for fact in facts)
    if moving:
        log.note("animations", "warning", f"{moving} images have several frames; the first is used.", moving)
