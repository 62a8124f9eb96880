"""Where the image is in an encoded sample or batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pixels(tensors: Mapping[str, Tensor]) -> str:
    """The name of the one tensor with channels, height and width as its last dimensions."""
    names = [name for name, value in tensors.items() if value.ndim >= 3]
    assert len(names) == 1, f"expected one image tensor, found {names}"
    return names[0]
