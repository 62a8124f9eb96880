"""Train, validation and test: drawn by seed, each class in its share, and what belongs together stays together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from unfreeze.data.manifest import SPLITS, SplitName, Target
from unfreeze.data.sequences import Array

_BINS = 10


def strata(targets: Sequence[Target]) -> list[str]:
    """What a row counts as when classes are shared out: its label, its rarest label, or its tenth of the range."""
    if targets and isinstance(targets[0], float):
        values = np.array(targets, dtype=np.float64)
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        return [str(i) for i in np.searchsorted(edges, values, side="right")]
    if any(isinstance(target, tuple) for target in targets):
        counts = Counter(label for target in targets if isinstance(target, tuple) for label in target)
        return [min(t, key=lambda x: (counts[x], x), default="") if isinstance(t, tuple) else str(t) for t in targets]
    return [str(target) for target in targets]


def draw(keys: Array, unit: Array, kinds: Sequence[str], shares: dict[SplitName, float], seed: int) -> list[SplitName]:
    """Assign every row to a split.

    Parameters
    ----------
    keys : a content key per row, uint8 of shape (rows, 32); rows are drawn in the order of its hash with the seed, so
        order in the file does not matter
    unit : rows with the same number stay together
    kinds : the stratum of each row
    shares : share of each split; they sum to one
    """
    left = _quotas(Counter(kinds), shares)
    splits = [split for split in SPLITS if split in shares]
    chosen: list[SplitName] = ["train"] * len(keys)
    for members in _units(unit, lots(keys, seed)):
        content: Mapping[str, int] = (
            Counter(kinds[row] for row in members) if len(members) > 1 else {kinds[members[0]]: 1}
        )
        best = max(splits, key=lambda split: sum(n * left[split][kind] for kind, n in content.items()))
        for kind, n in content.items():
            left[best][kind] -= n
        for row in members:
            chosen[row] = best
    return chosen


def _units(unit: Array, lots: Array) -> Iterator[list[int]]:
    """The rows of each unit: large units first, then by the smallest lot among their rows."""
    if not len(unit):
        return
    order = np.lexsort((lots[:, 1], lots[:, 0], unit))
    begins = np.flatnonzero(np.concatenate([[True], unit[order][1:] != unit[order][:-1]]))
    sizes, least = np.diff(begins, append=len(order)), lots[order[begins]]
    rows = np.argsort(unit, kind="stable")  # those of each unit in their order, at the same places
    for place in np.lexsort((rows[begins], least[:, 1], least[:, 0], -sizes)):
        yield rows[begins[place] : begins[place] + sizes[place]].tolist()


def lots(keys: Array, seed: int) -> Array:
    """Each row's place in the draw, two numbers of which the first counts first: the same for the same content and
    seed, on every machine."""
    found = bytearray()
    for key in keys:
        found += hashlib.blake2b(f"{seed}:{key.tobytes().hex()}".encode(), digest_size=16).digest()
    return np.frombuffer(found, ">u8").reshape(-1, 2).astype(np.uint64)


def _quotas(counts: Counter[str], shares: dict[SplitName, float]) -> dict[SplitName, dict[str, float]]:
    """Rows of each kind for each split; rounding evens out over kinds, and a kind with enough rows is in all splits."""
    quotas: dict[SplitName, dict[str, float]] = {split: {} for split in shares}
    held = [split for split in SPLITS if split in shares and split != "train" and shares[split] > 0]
    owed = dict.fromkeys(held, 0.0)
    for kind in sorted(counts, key=lambda kind: (-counts[kind], kind)):
        rest = counts[kind]
        for split in held:
            wanted = counts[kind] * shares[split] + owed[split]
            rows = max(1, round(wanted)) if counts[kind] > len(held) else round(wanted)
            rows = max(0, min(rows, rest - 1))
            owed[split] = max(-1.0, min(1.0, wanted - rows))
            quotas[split][kind] = rows
            rest -= rows
        quotas["train"][kind] = rest
    return quotas
