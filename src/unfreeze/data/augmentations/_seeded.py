"""torchvision's transforms, which draw from torch's global generator, made to follow a numpy generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.random import Generator


@contextmanager
def seeded(rng: Generator) -> Iterator[ModuleType]:
    """`torchvision.transforms.v2`, in a block whose random draws follow from one draw of `rng`.

    torch's generator of the CPU is as before afterwards. Those of other devices are not touched, hence no
    `torch.manual_seed`, which seeds them all and takes twenty times as long. Not for several threads at once: they
    share that generator. Of the seed's 63 bits torch's generator uses 32.
    """
    import torch

    from unfreeze import _torchvision  # noqa: F401  (before torchvision)

    transforms = import_module("torchvision.transforms.v2")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        yield transforms
