"""The rows of a job, the same for every side and every seed. Read before the clock starts."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle, islice, zip_longest
from typing import Any, TypeAlias

from sets import ROOT

from bench.jobs import Job

Rows: TypeAlias = list[tuple[Any, str]]
"""(text or image path, label)"""

Splits: TypeAlias = dict[str, Rows]
ROWS_PER_CLASS = 16
"""Fewer rows than so many for each of the 77 intents: fewer intents are used instead."""


def splits_of(job: Job) -> Splits:
    """Train, validation and test of a job; of a prediction only test.

    Raises
    ------
    FileNotFoundError
        If UNFREEZE_REAL_DATA names no folder that holds the set.
    ValueError
        If the set is smaller than what the job asks for.
    """
    make = {"text": banking, "flowers": flowers, "generated": generated, "prediction": texts}[job.data]
    found = make(job)
    short = [name for name, rows in found.items() if len(rows) != wanted(job)[name]]
    if short:
        raise ValueError(f"job {job.key} asks for {wanted(job)} rows, and the set has fewer for {', '.join(short)}")
    return found


def wanted(job: Job) -> dict[str, int]:
    """How many rows each split should have."""
    return {"train": job.rows, "validation": job.validation, "test": job.rows if job.data == "prediction" else job.test}


def banking(job: Job) -> Splits:
    """Customers' sentences by intent: banking77, its official test rows as test."""
    train, test = _banking("train"), _banking("test")
    labels = _labels(train, job.rows)
    train, test = _of(labels, train), _of(labels, test)
    draw = random.Random(0)
    draw.shuffle(train)
    draw.shuffle(test)
    return {
        "train": train[: job.rows],
        "validation": train[job.rows : job.rows + job.validation],
        "test": test[: job.test],
    }


def generated(job: Job) -> Splits:
    """Any number of distinct rows: the first half of one real sentence with the second half of another of its intent.

    Validation and test are real sentences, which none of the halves come from.
    """
    pool, test = _banking("train"), _banking("test")
    labels = _labels(pool, job.rows)
    pool, test = _of(labels, pool), _of(labels, test)
    draw = random.Random(0)
    draw.shuffle(pool)
    draw.shuffle(test)
    validation, pool = pool[: job.validation], pool[job.validation :]
    return {"train": list(islice(_spliced(pool, draw), job.rows)), "validation": validation, "test": test[: job.test]}


def _spliced(pool: Rows, draw: random.Random) -> Iterator[tuple[str, str]]:
    halves: dict[str, list[tuple[list[str], list[str]]]] = defaultdict(list)
    for text, label in pool:
        words = text.split()
        halves[label].append((words[: len(words) // 2], words[len(words) // 2 :]))
    seen: set[str] = set()
    for label in cycle(sorted(halves)):
        text = " ".join([*draw.choice(halves[label])[0], *draw.choice(halves[label])[1]])
        if text not in seen:
            seen.add(text)
            yield text, label


def texts(job: Job) -> Splits:
    """Texts to score: banking77's training rows, none of which the model of this job has learned from."""
    rows = _banking("train")
    random.Random(1).shuffle(rows)
    return {"test": rows[: job.rows]}


def to_learn_before(per_class: int) -> Splits:
    """What the model of the prediction jobs is trained on: official test rows."""
    pool = _banking("test")
    random.Random(0).shuffle(pool)
    by_label: dict[str, Rows] = defaultdict(list)
    for row in pool:
        by_label[row[1]].append(row)
    train = [row for label in sorted(by_label) for row in by_label[label][:per_class]]
    held = [row for label in sorted(by_label) for row in by_label[label][per_class : per_class + 4]]
    return {"train": train, "validation": held[::2], "test": held[1::2]}


def flowers(job: Job) -> Splits:
    """Photos of five kinds of flowers, shorter side 224 px, the same share of each kind."""
    root = ROOT / "data" / "flowers5"
    sizes = wanted(job)
    found: Splits = {}
    for split, count in sizes.items():
        by_class = [sorted(folder.glob("*.jpg")) for folder in sorted((root / split).iterdir()) if folder.is_dir()]
        turns = [path for rank in zip_longest(*by_class) for path in rank if path is not None]
        found[split] = [(path, path.parent.name) for path in turns[:count]]
    return found


def _banking(split: str) -> Rows:
    with (ROOT / "data" / "banking77" / f"{split}.csv").open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def _labels(rows: Rows, count: int) -> set[str]:
    return set(sorted({label for _, label in rows})[: max(2, count // ROWS_PER_CLASS)])


def _of(labels: set[str], rows: Rows) -> Rows:
    return [row for row in rows if row[1] in labels]
