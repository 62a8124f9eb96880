"""Small per-row arrays that grow batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Columns:
    """Named arrays of equal length, given in pieces and joined when they are read."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[Array]] = {}

    def add(self, **columns: Array) -> None:
        """Append one piece to each column."""
        for name, piece in columns.items():
            self._pieces.setdefault(name, []).append(piece)

    def __len__(self) -> int:
        return sum(len(piece) for piece in next(iter(self._pieces.values()), []))

    def __getitem__(self, name: str) -> Array:
        """The whole column, of shape (rows, …)."""
        pieces = self._pieces[name]
        if len(pieces) > 1:
            pieces[:] = [np.concatenate(pieces)]
        return pieces[0]
