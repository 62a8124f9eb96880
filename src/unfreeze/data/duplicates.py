"""Exact and near duplicates in time that grows with the rows, not with their pairs.

Texts: MinHash over character 5-grams, banded (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3),
then the true Jaccard similarity. Images: banded difference hash (Krawetz 2013), then the likeness of small copies.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np

from unfreeze.data.images import ImageFacts
from unfreeze.data.manifest import ImageRef, Input
from unfreeze.data.stored import BLOCK, blocks, stacked

Array = np.ndarray[Any, Any]
TEXT_SIMILARITY = 0.85
_SHINGLE = 5
_BANDS, _ROWS = 10, 4
_READ = 1000
_WINDOW = 4
_PORTION = 1 << 14
_HASH_DISTANCE = 6
_WORDS = re.compile(r"[^\w]+")
_DIGITS = re.compile(r"\d+")


def digest(item: Input, facts: ImageFacts | None = None) -> str:
    """A key that equal inputs share: the file's hash, or the text with its spaces collapsed."""
    return _digest(item, facts).hex()


def digests(items: Iterable[Input], facts: Iterable[ImageFacts | None] = ()) -> Array:
    """The keys of many inputs, uint8 of shape (rows, 32)."""
    found = bytearray()
    for item, fact in zip(items, facts or repeat(None)):  # noqa: B905  # one of them may have no end
        found += _digest(item, fact)
    return np.frombuffer(found, np.uint8).reshape(-1, 32)


def _digest(item: Input, facts: ImageFacts | None) -> bytes:
    if isinstance(item, ImageRef):
        return bytes.fromhex(facts.digest) if facts else hashlib.sha256(str(item.path).encode()).digest()
    parts = item if isinstance(item, tuple) else (item,)
    tidy = "\0".join(" ".join(unicodedata.normalize("NFC", part).split()) for part in parts)
    return hashlib.sha256(tidy.encode("utf-8", "replace")).digest()


def plain_text(item: str | tuple[str, str]) -> str:
    """A text without case, punctuation and repeated spaces; the two of a pair one after the other."""
    joined = " \x1f ".join(item) if isinstance(item, tuple) else item
    folded = unicodedata.normalize("NFKC", joined).casefold()
    return _WORDS.sub(" ", folded).strip() or folded.strip()


def near_texts(items: Sequence[str | tuple[str, str]]) -> Array:
    """Pairs of rows whose texts are nearly the same, as an array of shape (pairs, 2).

    Texts are read twice at most: once for what is kept of each (some 200 bytes, most of them on disk where they are
    many), and again where two are likely to be alike.
    """
    if not len(items):
        return _pairs([])
    keys, wordy, long, numbers = bytearray(), bytearray(), bytearray(), array("q")

    def portions() -> Iterator[Array]:
        for some in blocks(items):
            texts = [plain_text(item) for item in some]
            for text in texts:
                keys.extend(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())
                wordy.append(len(text.split()) >= 3)
                long.append(len(text) >= 2 * _SHINGLE)
            enough = [text for text in texts if len(text) >= 2 * _SHINGLE]
            numbers.extend(hash(_numbers(text)) for text in enough)
            yield _signatures(enough)

    signatures = stacked(portions(), (_BANDS * _ROWS,), np.uint32)
    firsts, rows = first_rows(np.frombuffer(keys, np.uint64).reshape(-1, 2)), np.arange(len(wordy))
    again = (firsts != rows) & np.frombuffer(wordy, np.bool_)[firsts]
    equal = np.stack([firsts[again], rows[again]], axis=1)
    enough = np.flatnonzero(np.frombuffer(long, np.bool_))
    unique = np.flatnonzero(firsts[enough] == enough)
    if len(unique) < 2:
        return equal
    apart = np.array(numbers, dtype=np.int64).view(np.uint64)[unique]
    bands = (signatures[unique, start : start + _ROWS] for start in range(0, _BANDS * _ROWS, _ROWS))
    pairs = unique[candidates(_fold(band) ^ apart for band in bands)]
    text = lru_cache(BLOCK)(lambda row: plain_text(items[row]))
    near = [equal]
    for start in range(0, len(pairs), _PORTION):
        likely = enough[_likely(pairs[start : start + _PORTION], signatures)]
        near.append(likely[np.array([_alike(text(a), text(b)) for a, b in likely.tolist()], dtype=bool)])
    return np.concatenate(near)


def _likely(pairs: Array, signatures: Array) -> Array:
    """The pairs whose signatures agree about as much as near duplicates' do."""
    agree = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
    return np.asarray(pairs[agree >= TEXT_SIMILARITY - 0.2])


def near_images(facts: Sequence[ImageFacts]) -> Array:
    """Pairs of rows whose images are the same picture at another size or compression, of shape (pairs, 2)."""
    if len(facts) < 2:
        return _pairs([])
    hashes = np.array([fact.dhash for fact in facts], dtype=np.uint64)
    pairs = candidates([*((hashes >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4)), hashes])
    apart = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
    distance = np.unpackbits(apart[:, None].view(np.uint8), axis=1).sum(axis=1)
    pairs = pairs[distance <= _HASH_DISTANCE]
    keep = [_same_picture(facts[a], facts[b]) for a, b in pairs]
    return np.asarray(pairs[np.array(keep, dtype=bool)] if len(pairs) else pairs)


def candidates(columns: Iterable[Array]) -> Array:
    """Pairs of rows that share a key in some column: each with the first of its bucket and its next few neighbours."""
    found, count = np.zeros(0, dtype=np.int64), 1
    for column in columns:
        count = len(column)
        order = np.argsort(column, kind="stable")
        ranked = column[order]
        begins = np.concatenate([[True], ranked[1:] != ranked[:-1]])
        starts = np.maximum.accumulate(np.where(begins, np.arange(count), 0))
        pairs = [_as_number(order[starts[~begins]], order[~begins], count)]
        for step in range(1, _WINDOW + 1):
            same = ranked[:-step] == ranked[step:]
            pairs.append(_as_number(order[:-step][same], order[step:][same], count))
        found = np.union1d(found, np.concatenate(pairs))
    return np.stack(np.divmod(found, count), axis=1)


def _as_number(first: Array, second: Array, count: int) -> Array:
    """Pairs of rows, the smaller before the larger, as one number each."""
    return np.asarray(np.minimum(first, second) * count + np.maximum(first, second))


def clusters(count: int, *pairs: Array) -> Array:
    """For each row the smallest row that it is connected to (union-find with path halving)."""
    parent = array("q", range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for some in pairs:
        for start in range(0, len(some), _PORTION):
            for a, b in some[start : start + _PORTION].tolist():
                low, high = sorted((root(a), root(b)))
                parent[high] = low
    roots = np.array(parent, dtype=np.int64)
    while not np.array_equal(roots, further := roots[roots]):
        roots = further
    return roots


def same_key(keys: Sequence[object] | Array) -> Array:
    """Each row with the first row of the same key, of shape (pairs, 2); None is like nothing."""
    numbers = keys if isinstance(keys, np.ndarray) else numbered(keys)
    firsts, rows = first_rows(numbers), np.arange(len(numbers))
    later = firsts != rows if isinstance(keys, np.ndarray) else (firsts != rows) & (numbers >= 0)
    return np.stack([firsts[later], rows[later]], axis=1)


def first_rows(keys: Array) -> Array:
    """For each row the first row of equal keys, which are of shape (rows,) or (rows, parts)."""
    columns = keys[:, None] if keys.ndim == 1 else keys
    if not len(columns):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort(columns.T)
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = False
    for column in columns.T:
        ranked = column[order]
        begins[1:] |= ranked[1:] != ranked[:-1]
    firsts = np.empty(len(order), dtype=np.int64)
    firsts[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return firsts


def numbered(values: Sequence[object]) -> Array:
    """Equal values by the same number, counted from 0; None by -1."""
    if len(values) and all(type(value) is float for value in values):
        return np.unique(np.array(values, dtype=np.float64), return_inverse=True)[1].reshape(-1)
    known: dict[object, int] = {}
    numbers = (-1 if value is None else known.setdefault(value, len(known)) for value in values)
    return np.fromiter(numbers, dtype=np.int64, count=len(values))


def _signatures(texts: Sequence[str]) -> Array:
    """MinHash signatures of a block of texts, uint32 of shape (texts, bands · rows)."""
    random = np.random.default_rng(5)
    factors = random.integers(1, 2**31, _BANDS * _ROWS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = random.integers(0, 2**32, _BANDS * _ROWS, dtype=np.uint32)
    signatures = np.empty((len(texts), _BANDS * _ROWS), dtype=np.uint32)
    if not len(texts):
        return signatures
    hashes, starts = _shingles(texts)
    for column, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
        mixed = hashes * factor + offset
        mixed ^= mixed >> np.uint32(15)
        signatures[:, column] = np.minimum.reduceat(mixed, starts)
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
