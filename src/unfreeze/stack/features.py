"""Kept features of many samples: one tensor per split, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class FeatureStore:
    """The features of samples 0 … n-1, each of shape ([length,] …).

    Ragged features are kept as one flat tensor with offsets, so that memory follows the tokens that are
    there and not the longest text.
    """

    ragged: bool
    _flat: Tensor | None = None
    _places: dict[int, tuple[int, int]] = field(default_factory=dict)
    _parts: list[Tensor] = field(default_factory=list)
    _filled: int = 0

    def add(self, samples: Sequence[int], lengths: Sequence[int], features: Tensor) -> None:
        """Take in a batch of shape (rows, [padded length,] …)."""
        for row, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
            part = features[row, :length] if self.ragged else features[row : row + 1]
            self._parts.append(part.detach().clone())
            self._places[sample] = (self._filled, part.shape[0])
            self._filled += part.shape[0]

    def close(self) -> None:
        """All samples are in: make one tensor of the parts."""
        self._flat = torch.cat(self._parts)
        self._parts = []

    @property
    def bytes(self) -> int:
        """Memory taken."""
        return 0 if self._flat is None else self._flat.numel() * self._flat.element_size()

    def batch(self, samples: Sequence[int]) -> Tensor:
        """The features of these samples, padded with zeros: (rows, [longest,] …)."""
        assert self._flat is not None, "close() comes before batch()"
        places = [self._places[sample] for sample in samples]
        if not self.ragged:
            return self._flat[torch.tensor([start for start, _ in places])]
        longest = max(length for _, length in places)
        padded = self._flat.new_zeros((len(places), longest, *self._flat.shape[1:]))
        for row, (start, length) in enumerate(places):
            padded[row, :length] = self._flat[start : start + length]
        return padded
