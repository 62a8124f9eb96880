"""The state of a module tensor by tensor, so that two processes can tell whether they hold the same one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch import nn

from unfreeze.stack.ledger import tensor_digest

Described: TypeAlias = Mapping[str, Any]
"""`dtype`, `shape` and `sha256` of a tensor, as JSON holds them."""


def state_of(module: nn.Module) -> dict[str, Described]:
    """Every parameter and buffer by name, also the buffers that a saved model leaves out.

    Those (a transformer's positions, rotary frequencies) are made again by the library that makes the module, so that
    they have to be the same too. A shared tensor is told under each of its names: libraries share buffers, or make
    them separate again, as they read longer and shorter texts.
    """
    parameters, buffers = (named(remove_duplicate=False) for named in (module.named_parameters, module.named_buffers))
    return {
        name: {
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "sha256": tensor_digest(tensor).hex(),
        }
        for name, tensor in (*parameters, *buffers)
    }


def differences(trained: Mapping[str, Described], loaded: Mapping[str, Described]) -> Iterator[str]:
    """What is wrong with each tensor that differs, in the trained module's order."""
    for name, was in trained.items():
        found = loaded.get(name)
        if found is None:
            yield f"'{name}' is missing"
        elif _kind(found) != _kind(was):
            yield f"'{name}' is {_kind(found)} instead of {_kind(was)}"
        elif found["sha256"] != was["sha256"]:
            yield f"'{name}' holds other values"
    yield from (f"'{name}' is there and was not in training" for name in loaded if name not in trained)


def _kind(tensor: Described) -> str:
    return f"{tensor['dtype']} of shape {tuple(tensor['shape'])}"
