"""The recipe's policies: each function takes rows, leaves out what is unfit, and returns the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from unfreeze.data.duplicates import first_rows, numbered, same_key
from unfreeze.data.images import probe_all
from unfreeze.data.manifest import SPLITS, ImageRef, Input, Target
from unfreeze.data.rows import Log, Rows, settle
from unfreeze.data.sequences import Array, each, shared
from unfreeze.data.splits import lots, strata
from unfreeze.data.values import is_missing
from unfreeze.errors import DataError
from unfreeze.progress import counted
from unfreeze.recipe import DataRecipe


def missing(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Rows without input or target. "impute" and "keep" make a missing text the empty text; a target is never made
    up, since it would be learned and scored as if it were true, and neither is an image."""
    blank: dict[int, str] = {}
    hopeless: dict[int, str] = {}
    for i, item in enumerate(rows.inputs):
        if _is_blank(item):
            blank[i] = "missing text"
        elif item is None:
            hopeless[i] = "missing image"
    hopeless |= {i: "missing target" for i, target in enumerate(rows.targets) if target is None}
    if recipe.missing in ("impute", "keep"):
        if blank:
            text = f"{len(blank)} rows without a text were kept; the text is empty."
            log.note("missing", "warning", text, len(blank), tuple(rows.origin[i] for i in list(blank)[:3]))
        rows = rows.with_(inputs=each(_filled, rows.inputs))
        policy, reasons = "drop", hopeless
    else:
        policy, reasons = recipe.missing, blank | hopeless
    return settle(rows, reasons, policy, "missing", "missing", "rows have a missing or empty input or target", log)


def _is_blank(item: Input | None) -> bool:
    if isinstance(item, tuple):
        return any(is_missing(part) for part in item)
    return isinstance(item, str) and is_missing(item)


def _filled(item: Input | None) -> Input | None:
    return tuple(part or "" for part in item) if isinstance(item, tuple) else item  # type: ignore[return-value]


def unreadable(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Look at every image once; those that cannot be decoded are left out."""
    if not all(isinstance(item, ImageRef) for item in rows.inputs):
        return rows
    refs = [item for item in rows.inputs if isinstance(item, ImageRef)]
    facts = probe_all(refs, recipe.max_pixels)
    bad = {i: fact for i, fact in enumerate(facts) if isinstance(fact, str)}
    rows = rows.with_(facts=facts)
    return settle(rows, bad, recipe.unreadable, "unreadable", "unreadable", "images cannot be read", log)


def label_variants(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Labels that differ only by case or spaces become the most frequent spelling."""
    counts = Counter(label for target in rows.targets for label in labels_of(target))
    families: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        families[folded(label)].append(label)
    several = {key: spellings for key, spellings in families.items() if len(spellings) > 1}
    if not several:
        return rows
    shown = tuple(" / ".join(map(repr, spellings)) for spellings in list(several.values())[:3])
    message = f"{len(several)} labels are spelled in several ways that differ by case or spaces"
    if recipe.label_variants == "fail":
        raise DataError(f"{message}, and data.label_variants is 'fail': {'; '.join(shown)}.")
    merge = recipe.label_variants == "merge"
    log.note("label_variants", "warning", f"{message}: {'merged' if merge else 'kept'}.", len(several), shown)
    if not merge:
        return rows
    names = {spelling: spellings[0] for spellings in several.values() for spelling in spellings}
    return rows.with_(targets=shared(_renamed(target, names) for target in rows.targets))


def folded(label: str) -> str:
    """A label without case and with single spaces."""
    return " ".join(label.casefold().split())


def labels_of(target: Target | None) -> tuple[str, ...]:
    """The labels of a target; none for numbers."""
    return target if isinstance(target, tuple) else (target,) if isinstance(target, str) else ()


def _renamed(target: Target | None, names: dict[str, str]) -> Target | None:
    if isinstance(target, tuple):
        return tuple(sorted({names.get(label, label) for label in target}))
    return names.get(target, target) if isinstance(target, str) else target


def duplicates(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Rows whose input and target stand in an earlier row of the same split."""
    contents = first_rows(rows.digests.view(np.uint64))
    keys = np.stack([contents, numbered(rows.targets), numbered(rows.splits)], axis=1)
    reasons = {i: f"the same input and target as {rows.origin[first]}" for first, i in same_key(keys).tolist()}
    what = "rows repeat an earlier row exactly"
    return settle(rows, reasons, recipe.duplicates, "duplicates", "duplicates", what, log)


def leaks(rows: Rows, unit: Array, recipe: DataRecipe, log: Log, *, kind: str, what: str) -> Rows:
    """Rows of training that belong together with rows of validation or test, and rows of validation with test."""
    rank = {split: i for i, split in enumerate(SPLITS)}
    highest: dict[int, int] = {}
    several = [(i, int(unit[i])) for i in in_company(unit).tolist()]
    for i, number in several:
        best = highest.get(number)
        if best is None or rank[rows.splits[i] or "train"] > rank[rows.splits[best] or "train"]:
            highest[number] = i
    reasons = {}
    for i, number in several:
        other = highest[number]
        if rank[rows.splits[i] or "train"] < rank[rows.splits[other] or "train"]:
            reasons[i] = f"{what}: see {rows.origin[other]} in {rows.splits[other]}"
    return settle(
        rows,
        reasons,
        recipe.leaks,
        "leaks",
        kind,
        f"rows share {what} with a row of a later split",
        log,
    )


def in_company(keys: Array) -> Array:
    """The rows whose key another row has too."""
    firsts = first_rows(keys)
    return np.flatnonzero(np.bincount(firsts, minlength=len(firsts))[firsts] > 1)


def rare(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Rows of classes with fewer rows than asked for."""
    counts = Counter(label for target in rows.targets for label in labels_of(target))
    few = {label for label, count in counts.items() if count < recipe.min_per_class}
    if not few:
        return rows
    if len(counts) == 1:
        raise DataError(
            f"There is only one class ({_shown(list(counts))}) in {counted(len(rows), 'row')}; at least two are needed."
            f"{log.left_out()}"
        )
    if len(few) == len(counts) and recipe.rare != "keep":
        hint = " Is the target column an identifier or free text?" if len(counts) > 10 else log.left_out()
        raise DataError(
            f"Each of the {len(counts)} classes has fewer than {recipe.min_per_class} rows (data.min_per_class);"
            f" for instance {_shown(sorted(few))}.{hint}"
        )
    reasons = {
        i: f"class '{bad[0]}' has {counts[bad[0]]} rows, fewer than {recipe.min_per_class}"
        for i, target in enumerate(rows.targets)
        if (bad := [label for label in labels_of(target) if label in few])
    }
    classes = "1 class" if len(few) == 1 else f"{len(few):,} classes"
    what = f"rows are of {classes} with fewer than {recipe.min_per_class} rows ({_shown(sorted(few))})"
    return settle(rows, reasons, recipe.rare, "rare", "rare", what, log)


def unseen(rows: Rows, recipe: DataRecipe, log: Log) -> Rows:
    """Rows of validation and test with a label that training does not have."""
    known = {label for target, split in _by_split(rows) if split == "train" for label in labels_of(target)}
    reasons = {
        i: f"label '{new[0]}' does not occur in training"
        for i, (target, split) in enumerate(_by_split(rows))
        if split != "train" and (new := [label for label in labels_of(target) if label not in known])
    }
    return settle(rows, reasons, recipe.rare, "rare", "unseen_label", "rows have a label that training lacks", log)


def _by_split(rows: Rows) -> Iterator[tuple[Target | None, str | None]]:
    return zip(rows.targets, rows.splits, strict=True)


def at_most(rows: Rows, recipe: DataRecipe, seed: int, keys: Array, log: Log) -> Rows:
    """Draw `max_rows` rows, every class and split in its share (rounded up, so that none disappears)."""
    if recipe.max_rows is None or len(rows) <= recipe.max_rows:
        return rows
    kinds = strata([target for target in rows.targets if target is not None])
    drawn = lots(keys, seed)
    order = np.lexsort((drawn[:, 1], drawn[:, 0]))
    piles = first_rows(np.stack([numbered(rows.splits), numbered(kinds)], axis=1))
    piled = order[np.argsort(piles[order], kind="stable")]  # pile below pile, each in the order of its lots
    sizes = np.bincount(piles, minlength=len(piles))
    place = np.empty(len(rows))
    place[piled] = (np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[piles[piled]] + 0.5) / sizes[piles[piled]]
    chosen = np.lexsort((drawn[:, 1], drawn[:, 0], place))[: recipe.max_rows]
    log.note("max_rows", "info", f"{recipe.max_rows} of {len(rows)} rows were drawn (data.max_rows).", recipe.max_rows)
    return rows.only(chosen)


def _shown(labels: list[str]) -> str:
    return ", ".join(repr(label[:40]) for label in labels[:3]) + (", …" if len(labels) > 3 else "")
