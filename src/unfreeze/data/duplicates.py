"""Exact and near duplicates in time that grows with the rows, not with their pairs.

Texts: MinHash over character 5-grams, banded (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3),
then the true Jaccard similarity. Images: banded difference hash (Krawetz 2013), then the likeness of small copies.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from unfreeze.data.images import ImageFacts
from unfreeze.data.manifest import ImageRef, Input

Array = np.ndarray[Any, Any]
TEXT_SIMILARITY = 0.85
_SHINGLE = 5
_BANDS, _ROWS = 10, 4
_READ = 1000
_WINDOW = 4
_HASH_DISTANCE = 6
_WORDS = re.compile(r"[^\w]+")
_DIGITS = re.compile(r"\d+")


def digest(item: Input, facts: ImageFacts | None = None) -> str:
    """A key that equal inputs share: the file's hash, or the text with its spaces collapsed."""
    if isinstance(item, ImageRef):
        return facts.digest if facts else hashlib.sha256(str(item.path).encode()).hexdigest()
    parts = item if isinstance(item, tuple) else (item,)
    tidy = "\0".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in parts)
    return hashlib.sha256(tidy.encode("utf-8", "replace")).hexdigest()


def plain_text(item: str | tuple[str, str]) -> str:
    """A text without case, punctuation and repeated spaces; the two of a pair one after the other."""
    joined = " \x1f ".join(item) if isinstance(item, tuple) else item
    folded = unicodedata.normalize("NFKC", joined).casefold()
    return _WORDS.sub(" ", folded).strip() or folded.strip()


def near_texts(items: Sequence[str | tuple[str, str]]) -> Array:
    """Pairs of rows whose texts are nearly the same, as an array of shape (pairs, 2)."""
    texts = [plain_text(item) for item in items]
    firsts: dict[str, int] = {}
    same = [(firsts.setdefault(text, i), i) for i, text in enumerate(texts)]
    equal = [(a, b) for a, b in same if a != b and len(texts[a].split()) >= 3]
    unique = np.array(sorted(firsts.values()), dtype=np.int64)
    long_enough = np.array([i for i in unique if len(texts[i]) >= 2 * _SHINGLE], dtype=np.int64)
    if len(long_enough) < 2:
        return _pairs(equal)
    signatures = _signatures([texts[i] for i in long_enough])
    numbers = np.array([hash(_numbers(texts[i])) for i in long_enough], dtype=np.int64).astype(np.uint64)
    keys = np.stack([_fold(band) ^ numbers for band in np.split(signatures, _BANDS, axis=1)], axis=1)
    pairs = candidates(keys)
    agree = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1) if len(pairs) else np.zeros(0)
    likely = long_enough[pairs[agree >= TEXT_SIMILARITY - 0.2]]
    near = [(int(a), int(b)) for a, b in likely if _alike(texts[a], texts[b])]
    return _pairs([*equal, *near])


def near_images(facts: Sequence[ImageFacts]) -> Array:
    """Pairs of rows whose images are the same picture at another size or compression, of shape (pairs, 2)."""
    if len(facts) < 2:
        return _pairs([])
    hashes = np.array([fact.dhash for fact in facts], dtype=np.uint64)
    bands = np.stack([(hashes >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4)], axis=1)
    pairs = candidates(np.concatenate([bands, hashes[:, None]], axis=1))
    apart = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
    distance = np.unpackbits(apart[:, None].view(np.uint8), axis=1).sum(axis=1)
    pairs = pairs[distance <= _HASH_DISTANCE]
    keep = [_same_picture(facts[a], facts[b]) for a, b in pairs]
    return np.asarray(pairs[np.array(keep, dtype=bool)] if len(pairs) else pairs)


def candidates(keys: Array) -> Array:
    """Pairs of rows that share a key in some column: each with the first of its bucket and its next few neighbours."""
    found = []
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        starts = np.searchsorted(ranked, ranked, side="left")
        found.append(np.stack([order[starts], order], axis=1))
        for step in range(1, _WINDOW + 1):
            same = ranked[:-step] == ranked[step:]
            found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    pairs = np.sort(np.concatenate(found), axis=1)
    unique = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return np.asarray(unique)


def clusters(count: int, pairs: Iterable[Sequence[int]]) -> list[int]:
    """For each row the smallest row that it is connected to (union-find with path halving)."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(int(a)), root(int(b))))
        parent[high] = low
    return [root(i) for i in range(count)]


def same_key(keys: Sequence[object]) -> list[tuple[int, int]]:
    """Each row with the first row of the same key; None is like nothing."""
    firsts: dict[object, int] = {}
    return [(firsts[key], i) for i, key in enumerate(keys) if key is not None and firsts.setdefault(key, i) != i]


def _signatures(texts: Sequence[str]) -> Array:
    """MinHash signatures, uint32 of shape (texts, bands · rows)."""
    random = np.random.default_rng(5)
    factors = random.integers(1, 2**31, _BANDS * _ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = random.integers(0, 2**32, _BANDS * _ROWS, dtype=np.uint32)
    signatures = np.empty((len(texts), _BANDS * _ROWS), dtype=np.uint32)
    for start in range(0, len(texts), 4096):
        part = texts[start : start + 4096]
        hashes, starts = _shingles(part)
        for column, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
            mixed = hashes * factor + offset
            mixed ^= mixed >> np.uint32(15)
            signatures[start : start + len(part), column] = np.minimum.reduceat(mixed, starts)
    return signatures


def _shingles(texts: Sequence[str]) -> tuple[Array, Array]:
    """Hashes of all 5-grams of all texts, and where each text begins."""
    codes = np.frombuffer("".join(text[:_READ] for text in texts).encode("utf-32-le"), dtype=np.uint32)
    lengths = np.array([min(len(text), _READ) for text in texts])
    ends = np.cumsum(lengths)
    hashes = np.zeros(len(codes) - _SHINGLE + 1, dtype=np.uint32)
    for i in range(_SHINGLE):
        hashes = hashes * np.uint32(0x01000193) ^ (codes[i : len(codes) - _SHINGLE + 1 + i] * np.uint32(0x9E3779B1))
    hashes ^= hashes >> np.uint32(16)
    inside = np.ones(len(hashes), dtype=bool)
    for i in range(1, _SHINGLE):
        borders = ends[:-1] - i
        inside[borders] = False
    counts = lengths - _SHINGLE + 1
    return hashes[inside], np.concatenate([[0], np.cumsum(counts)[:-1]])


def _fold(band: Array) -> Array:
    """A band's rows as one 64-bit key each."""
    key = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


def _alike(first: str, second: str) -> bool:
    """Jaccard similarity of 5-grams, and the same numbers: "after 2 weeks" is not "after 3 weeks"."""
    if _numbers(first) != _numbers(second):
        return False
    a, b = ({text[i : i + _SHINGLE] for i in range(min(len(text), _READ) - _SHINGLE + 1)} for text in (first, second))
    return len(a & b) >= TEXT_SIMILARITY * len(a | b)


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers in a text; as integers, whose hashes do not depend on the process."""
    return tuple(int(digits[:18]) for digits in _DIGITS.findall(text))


def _same_picture(first: ImageFacts, second: ImageFacts) -> bool:
    """Small copies that differ little and whose contrasts agree; flat pictures resemble each other anyway."""
    a, b = first.thumb.astype(np.float32), second.thumb.astype(np.float32)
    if np.abs(a - b).mean() > 6:
        return first.digest == second.digest
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return first.digest == second.digest or (scale > 0 and float((a * b).sum()) >= 0.99 * scale)


def _pairs(pairs: Sequence[tuple[int, int]]) -> Array:
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
