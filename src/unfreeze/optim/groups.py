"""The optimizer's parameter groups of a layer stack."""

from __future__ import annotations

from typing import Any

from torch import nn

from unfreeze.stack.groups import LayerStack


def parameter_groups(stack: LayerStack, weight_decay: float) -> list[dict[str, Any]]:
    """One dict for each layer group, split by whether weight decay applies; empty ones are left out.

    Keys: `params`, `names` (of the parameters), `group` (of the layer group), `weight_decay`, and `lr`,
    which the loop sets before each step. Every parameter of the stack is in exactly one dict, in the
    stack's order, also those that do not learn yet: an optimizer built once resumes exactly.
    """
    result: list[dict[str, Any]] = []
    norms = _norm_parameters(stack.module)
    for group in stack.groups:
        members = list(stack.parameters(group))
        for decays in (True, False):
            chosen = [
                (name, value)
                for name, value in members
                if (_decays(name, value, norms) and not (group.beside and _is_vector(value))) is decays
            ]
            if chosen:
                names = [name for name, _ in chosen]
                decay = weight_decay if decays else 0.0
                params = [value for _, value in chosen]
                result.append({"params": params, "names": names, "group": group.name, "weight_decay": decay, "lr": 0.0})
    return result


def _decays(name: str, parameter: nn.Parameter, norms: set[str]) -> bool:
    """Not biases, norms and other vectors: shrinking a scale or an offset regularises nothing."""
    return parameter.ndim > 1 and not name.endswith("bias") and name not in norms


def _is_vector(parameter: nn.Parameter) -> bool:
    """One axis alone is longer than 1, as of the scales that a method puts on channels: they start at 1, not at 0."""
    return parameter.numel() == max(parameter.shape)


def _norm_parameters(module: nn.Module) -> set[str]:
    return {
        f"{path}.{name}" if path else name
        for path, owner in module.named_modules()
        if "Norm" in type(owner).__name__
        for name, _ in owner.named_parameters(recurse=False)
    }
