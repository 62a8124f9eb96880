"""The freeze ledger: proof that what is frozen did not move."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from unfreeze.errors import FrozenMovedError
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import Working


def tensor_digest(tensor: Tensor) -> bytes:
    """sha256 of a tensor's type, shape and bytes."""
    plain = tensor.detach().to("cpu").contiguous()
    digest = hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def group_digests(stack: LayerStack, names: Collection[str]) -> dict[str, str]:
    """sha256 over the parameters and buffers of each named group."""
    digests: dict[str, str] = {}
    for group in stack.groups:
        if group.name in names:
            digest = hashlib.sha256()
            for name, tensor in (*stack.parameters(group), *stack.buffers(group)):
                digest.update(name.encode())
                digest.update(tensor_digest(tensor))
            digests[group.name] = digest.hexdigest()
    return digests


def check_frozen(stack: LayerStack, before: Mapping[str, str], phase: str) -> None:
    """Compare frozen groups with what they were.

    Raises
    ------
    FrozenMovedError
        Naming each group whose parameters or buffers changed.
    """
    after = group_digests(stack, before.keys())
    moved = [name for name, digest in before.items() if after[name] != digest]
    if moved:
        raise FrozenMovedError(
            f"In phase '{phase}' frozen layer groups changed: {', '.join(moved)}. "
            "Their parameters and buffers should hash the same before and after."
        )


def check_copy(working: Working, names: Collection[str], phase: str) -> None:
    """Compare frozen groups of the copy that computes with the master's.

    Raises
    ------
    FrozenMovedError
        Naming the first parameter that is not the master's.
    """
    moved = working.unfaithful(names)
    if moved is not None:
        raise FrozenMovedError(f"In phase '{phase}' the frozen parameter '{moved}' changed in the copy that computes.")
