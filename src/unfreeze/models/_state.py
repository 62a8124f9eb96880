"""Weights by name: their hash, and how they are fitted into a changed architecture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError

State = Mapping[str, Tensor]
Fit = Callable[[str, Tensor, Tensor], Tensor | None]
"""(name, the weight as it is, the parameter to fill) -> the fitted weight, or None where there is no way."""


def sha256_of(state: State) -> str:
    """Hash of names, types, shapes and values, independent of the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def fill(module: nn.Module, state: State, fit: Fit, what: str, optional: tuple[str, ...] = ()) -> None:
    """Copy weights by name into `module`; those of another shape go through `fit`.

    Weights that the module has no place for are left out: their blocks were dropped. Names that end with one of
    `optional` may be missing.

    Raises
    ------
    ModelError
        If a weight is missing or does not fit; all of them are counted and some are named.
    """
    problems: list[str] = []
    with torch.no_grad():
        for name, place in module.state_dict().items():
            weight = state.get(name)
            if weight is None:
                if not name.endswith(optional or ("\n",)):
                    problems.append(f"{name} is missing")
                continue
            fitted = weight if weight.shape == place.shape else fit(name, weight, place)
            if fitted is None or fitted.shape != place.shape:
                problems.append(f"{name} has shape {tuple(weight.shape)} instead of {tuple(place.shape)}")
                continue
            place.copy_(fitted)
    if problems:
        shown = "; ".join(problems[:4])
        raise ModelError(f"{what}: {len(problems)} weights do not fit the architecture: {shown}.")


def no_fit(name: str, weight: Tensor, place: Tensor) -> Tensor | None:
    """No way to change a weight's shape."""
    return None


def first_shared(module: nn.Module) -> dict[str, Tensor]:
    """The state without aliases: of tensors that are shared, only the first name."""
    seen: dict[tuple[int, tuple[int, ...], int], str] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.numel())
        if tensor.numel() and key in seen:
            continue
        seen[key] = name
        state[name] = tensor
    return state


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose new weights follow from the seed alone; the global generator is put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
