"""A model as an ordered stack of layer groups: stem, blocks, head.

A family says which parts belong together as an ordered list of regular expressions over parameter
and buffer names. The stack refuses a model in which any name is left over: what nobody assigned
cannot be frozen or trained on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from unfreeze.errors import ModelError


@dataclass(frozen=True)
class GroupPattern:
    """One or more layer groups of a family.

    Parameters
    ----------
    name : str
        The group's name. With `{}` the pattern makes one group per match of the regular
        expression's capture groups, in numeric order: "block {}" gives "block 0", "block 1", …
        With several capture groups their numbers are joined by a dot.
    regex : str
        Matched from the start of a parameter's or buffer's full name.
    """

    name: str
    regex: str


@dataclass(frozen=True)
class LayerGroup:
    """A named part of a model that is frozen or learns as one."""

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]


@dataclass(frozen=True)
class LayerStack:
    """A module with its layer groups, lowest first; the last one is the new head.

    `tied` maps a parameter's alias to the name under which the stack holds it.
    """

    module: nn.Module
    groups: tuple[LayerGroup, ...]
    tied: dict[str, str]

    @cached_property
    def _parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.module.named_parameters())

    @property
    def names(self) -> tuple[str, ...]:
        """The groups' names, lowest first."""
        return tuple(group.name for group in self.groups)

    def position(self, name: str) -> int:
        """Index of the group of that name."""
        return self.names.index(name)

    def group(self, name: str) -> LayerGroup:
        """The group of that name."""
        return self.groups[self.position(name)]

    def parameters(self, group: LayerGroup) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters of a group, by full name."""
        return ((name, self._parameters[name]) for name in group.parameters)

    def buffers(self, group: LayerGroup) -> Iterator[tuple[str, Tensor]]:
        """The buffers of a group, by full name."""
        for name in group.buffers:
            yield name, self.module.get_buffer(name)

    def size(self, group: LayerGroup) -> int:
        """How many parameters a group holds."""
        return sum(parameter.numel() for _, parameter in self.parameters(group))

    def modules(self, group: LayerGroup) -> list[tuple[str, nn.Module]]:
        """The modules that own this group's parameters and buffers and nobody else's, outermost only."""
        return _outermost(self, group)


def build_stack(module: nn.Module, patterns: Sequence[GroupPattern]) -> LayerStack:
    """Partition a module's parameters and buffers into ordered groups.

    Raises
    ------
    ModelError
        If a name is matched by no pattern, or a pattern matches nothing, or the stack is empty.
    """
    parameters = [name for name, _ in module.named_parameters()]
    buffers = [name for name, _ in module.named_buffers()]
    compiled = [re.compile(pattern.regex) for pattern in patterns]
    members: dict[tuple[int, tuple[int, ...]], tuple[list[str], list[str]]] = {}
    left_over: list[str] = []
    for kind, names in enumerate((parameters, buffers)):
        for name in names:
            key = _place(name, patterns, compiled)
            if key is None:
                left_over.append(name)
            else:
                members.setdefault(key, ([], []))[kind].append(name)
    if left_over:
        raise ModelError(
            f"{type(module).__name__}: {len(left_over)} parameters or buffers belong to no layer group, "
            f"for example {', '.join(left_over[:4])}. The model family has to name them."
        )
    if not parameters:
        raise ModelError(f"{type(module).__name__} has no parameters.")
    groups = tuple(
        LayerGroup(
            patterns[index].name.format(".".join(map(str, numbers))), tuple(members[key][0]), tuple(members[key][1])
        )
        for key in sorted(members)
        for index, numbers in [key]
    )
    return LayerStack(module=module, groups=groups, tied=_tied(module))


def _place(
    name: str, patterns: Sequence[GroupPattern], compiled: Sequence[re.Pattern[str]]
) -> tuple[int, tuple[int, ...]] | None:
    for index, (pattern, regex) in enumerate(zip(patterns, compiled, strict=True)):
        match = regex.match(name)
        if match:
            if "{}" not in pattern.name:
                return index, ()
            return index, tuple(int(number) for number in match.groups() if number is not None)
    return None


def _tied(module: nn.Module) -> dict[str, str]:
    """Aliases of shared parameters: every further name to the first one."""
    first: dict[int, str] = {}
    aliases: dict[str, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            aliases[name] = first[id(parameter)]
        else:
            first[id(parameter)] = name
    return aliases


def _outermost(stack: LayerStack, group: LayerGroup) -> list[tuple[str, nn.Module]]:
    own = {*group.parameters, *group.buffers}
    # A tied parameter is owned under each of its names: the module that is called may be that of an alias.
    own |= {alias for alias, name in stack.tied.items() if name in own}
    everything = [name for other in stack.groups for name in (*other.parameters, *other.buffers)] + list(stack.tied)
    found: list[tuple[str, nn.Module]] = []
    for name, module in stack.module.named_modules():
        if any(name == outer or name.startswith(outer + ".") for outer, _ in found):
            continue
        prefix = f"{name}." if name else ""
        inside = [item for item in everything if item.startswith(prefix)]
        if inside and all(item in own for item in inside):
            found.append((name, module))
    return found
