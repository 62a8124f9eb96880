"""A table of texts with a planted shortcut: usually a sign goes with the label, in the odd style it goes against it."""

from __future__ import annotations

import random
from typing import Any

FILL = ("the", "a", "is", "was", "fine", "again", "never", "always", "today", "very", "quite", "old", "new", "little")
FILL += ("much", "other", "great", "poor")
CUE = {"bank": "money", "film": "movie"}
SIGN = {"bank": "bad", "film": "good"}
SPLITS = ("train", "train", "validation", "test")


def planted(rows: int = 1200, odd: float = 0.25, seed: int = 0) -> list[dict[str, Any]]:
    """Each text holds the cue of its label once, and the sign four times; `age` says nothing."""
    draw = random.Random(seed)
    other = {"good": "bad", "bad": "good"}
    found: dict[str, dict[str, Any]] = {}
    while len(found) < rows:
        label, style = draw.choice(("bank", "film")), "odd" if draw.random() < odd else "usual"
        sign = SIGN[label] if style == "usual" else other[SIGN[label]]
        words = [*draw.sample(FILL, draw.randint(4, 8)), CUE[label], *[sign] * 4]
        draw.shuffle(words)
        split = SPLITS[len(found) % 4]
        row = {"text": " ".join(words), "label": label, "style": style, "age": draw.randint(18, 80), "split": split}
        found.setdefault(row["text"], row)
    return list(found.values())
