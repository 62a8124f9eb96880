"""Which tokens of an encoded text may be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

IDS = "input_ids"


def ordinary(sample: Mapping[str, Tensor], facts: Mapping[str, Any]) -> NDArray[np.bool_]:
    """True for each token of the text itself, False for special tokens; shape (tokens,)."""
    return ~np.isin(sample[IDS].numpy(), list(facts.get("special_ids", ())))
