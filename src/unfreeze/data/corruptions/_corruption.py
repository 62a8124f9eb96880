"""What a corruption is: a change of one input, the stronger the higher its severity."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unfreeze.data.manifest import Modality
from unfreeze.registry import Card

if TYPE_CHECKING:
    from numpy.random import Generator

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A named change.

    Parameters
    ----------
    card : Card
    modality : "text" or "image"
    group : str
        What it belongs to, for tables: "noise", "blur", "weather", "digital", "typing", "style".
    apply : callable (input, severity, numpy.random.Generator) -> input
        Of a text or pair of texts, or of an image as the model sees it: float32 of shape (height, width, channels)
        from 0 to 1, with one or three channels. Severity is 1 to 5. What is drawn does not depend on the severity,
        so that a stronger one is the same accident, worse.
    """

    card: Card
    modality: Modality
    group: str
    apply: Callable[[Any, int, Generator], Any]


def draw_for(seed: int, name: str, row: int) -> Generator:
    """The random generator of one row and one corruption, the same in every severity, order and subset of rows."""
    return np.random.default_rng((seed, zlib.crc32(name.encode()), row))
