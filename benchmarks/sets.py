"""The real data sets of the results, found by the environment variable UNFREEZE_REAL_DATA.

It names a folder that holds `data/` and `weights/` as described in docs/results.md.
"""

from __future__ import annotations

import csv
import os
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("UNFREEZE_REAL_DATA", "real"))
ROWS_PER_CLASS = 10
VALIDATION_PER_CLASS = 5


@dataclass(frozen=True)
class RealSet:
    """A data set with the model that is fine-tuned on it. `data(seed)` gives what `unfreeze.fit` takes."""

    title: str
    data: Callable[[int], Any]
    model: dict[str, Any]
    epochs: int

    def options(self, seed: int) -> dict[str, Any]:
        """Keyword arguments of `unfreeze.fit`."""
        return {"data": self.data(seed), "seed": seed, "epochs": self.epochs, **self.model}


def banking77(seed: int) -> dict[str, list[tuple[str, str]]]:
    """Ten rows per class to learn from, five for validation, drawn by seed; the official test split."""
    folder = ROOT / "data" / "banking77"
    by_class: dict[str, list[str]] = defaultdict(list)
    for text, label in _rows(folder / "train.csv"):
        by_class[label].append(text)
    draw = random.Random(seed)
    train, validation = [], []
    for label, texts in sorted(by_class.items()):
        draw.shuffle(texts)
        train += [(text, label) for text in texts[:ROWS_PER_CLASS]]
        validation += [(text, label) for text in texts[ROWS_PER_CLASS : ROWS_PER_CLASS + VALIDATION_PER_CLASS]]
    return {"train": train, "validation": validation, "test": _rows(folder / "test.csv")}


def _rows(path: Path) -> list[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def _folder(name: str) -> Callable[[int], str]:
    return lambda seed: str(ROOT / "data" / name)


MINILM = {"model": "all-MiniLM-L6-v2"}
MOBILENET = {
    "model": "mobilenetv2_100",
    "weights": str(ROOT / "weights" / "mobilenetv2_100" / "mobilenetv2_100_from_qat_timm.safetensors"),
    "model__options": {"pad_type": "same", "bn_eps": 1e-3, "mean": [0.5] * 3, "std": [0.5] * 3},
    "image_size": 128,
    "augment": [],
}

SETS = {
    "banking77": RealSet("banking77, 10 rows per class (77 intents)", banking77, MINILM, 5),
    "movies": RealSet("movie sentiment (2 classes)", _folder("sentiment_3domains/movies_imdb"), MINILM, 3),
    "products": RealSet("product sentiment (2 classes)", _folder("sentiment_3domains/products_amazon"), MINILM, 3),
    "flowers5": RealSet("flowers5 (5 classes, similar to ImageNet)", _folder("flowers5"), MOBILENET, 4),
    "chest-xray": RealSet("chest X-rays (3 classes, unlike ImageNet)", _folder("chest_xray_pneumonia"), MOBILENET, 4),
}
