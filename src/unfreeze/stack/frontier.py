"""Which groups learn, and in which mode everything else runs.

Frozen is more than `requires_grad=False`: a frozen group runs in eval mode (its BatchNorm statistics
stand still, its dropout is off), and so does everything that is computed before the frontier.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from unfreeze.stack.groups import LayerStack


def frontier(names: Collection[str], learn: Collection[str]) -> int:
    """Position of the lowest group that learns; the number of groups if none does."""
    return next((position for position, name in enumerate(names) if name in learn), len(names))


def set_learning(stack: LayerStack, learn: Collection[str]) -> None:
    """Let exactly these groups learn.

    Gradients are dropped everywhere: with a stale gradient, or one of zeros and weight decay, an optimizer
    would still move a layer that has just been frozen.
    """
    for group in stack.groups:
        for _, parameter in stack.parameters(group):
            parameter.requires_grad_(group.name in learn)
            parameter.grad = None


def set_modes(stack: LayerStack, learn: Collection[str]) -> None:
    """Put what learns into training mode and everything else into eval mode.

    Modules that belong to no single group (the model itself, a dropout between two groups) train only when
    the lowest group does; otherwise they may stand before the frontier, where everything is a pure
    function of the data.
    """
    stack.module.train(frontier(stack.names, learn) == 0)
    # What lies within a group to which something was added (a dropout between two layers) follows the group itself.
    for group in stack.groups:
        if group.beside:
            for _, module in stack.surroundings(group):
                module.train(group.beside in learn)
    for group in stack.groups:
        for _, module in stack.modules(group):
            module.train(group.name in learn)


def learning_modules(stack: LayerStack, learn: Collection[str]) -> list[tuple[str, nn.Module]]:
    """The outermost modules within which the groups that learn act, by name."""
    found = {
        name: module for group in stack.groups if group.name in learn for name, module in stack.surroundings(group)
    }
    return list(found.items())
