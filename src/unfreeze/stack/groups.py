"""A model as an ordered stack of layer groups: stem, blocks, head.

A family says which parts belong together as an ordered list of regular expressions over parameter
and buffer names. The stack refuses a model in which any name is left over: what nobody assigned
cannot be frozen or trained on purpose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.stack.additions import Addition


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
    """A named part of a model that is frozen or learns as one.

    `beside` is the name of the group within which an addition's parameters lie; "" for a group of the model itself.
    """

    name: str
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    beside: str = ""


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
        """How many parameters a group holds, those included that are kept in fewer bits as a buffer."""
        owners = {name.rpartition(".")[0] for name in group.buffers}
        kept = sum(getattr(self.module.get_submodule(owner), "quantised_weights", 0) for owner in owners)
        return kept + sum(parameter.numel() for _, parameter in self.parameters(group))

    def modules(self, group: LayerGroup) -> list[tuple[str, nn.Module]]:
        """The modules that own this group's parameters and buffers and nobody else's, outermost only."""
        return _outermost(self, [group])

    def surroundings(self, group: LayerGroup) -> list[tuple[str, nn.Module]]:
        """The modules within which a group acts: its own, and for an addition and its base those of both together.

        What is added to a block works between the block's own layers, so that the block is computed as a whole.
        """
        base = group.beside or group.name
        return _outermost(self, [other for other in self.groups if base in (other.name, other.beside)])


def build_stack(module: nn.Module, patterns: Sequence[GroupPattern], additions: Sequence[Addition] = ()) -> LayerStack:
    """Partition a module's parameters and buffers into ordered groups.

    Raises
    ------
    ModelError
        If a name is matched by no pattern, or an addition matches nothing, or the stack is empty.
    """
    parameters = [name for name, _ in module.named_parameters()]
    buffers = [name for name, _ in module.named_buffers()]
    compiled = [re.compile(pattern.regex) for pattern in patterns]
    added = [re.compile(addition.regex) for addition in additions]
    members: dict[tuple[int, tuple[int, ...], int], tuple[list[str], list[str]]] = {}
    left_over: list[str] = []
    for kind, names in enumerate((parameters, buffers)):
        for name in names:
            key = _place(name, patterns, compiled)
            if key is None:
                left_over.append(name)
            else:
                rank = _rank(name, added) if key[0] < len(patterns) - 1 else len(added)
                members.setdefault((*key, rank), ([], []))[kind].append(name)
    if left_over:
        raise ModelError(
            f"{type(module).__name__}: {len(left_over)} parameters or buffers belong to no layer group, "
            f"for example {', '.join(left_over[:4])}. The model family has to name them."
        )
    if not parameters:
        raise ModelError(f"{type(module).__name__} has no parameters.")
    for number, addition in enumerate(additions):
        if not any(rank == number for _, _, rank in members):
            raise ModelError(
                f"{type(module).__name__}: no parameter below the head matches '{addition.regex}' ({addition.label})."
            )
    groups = []
    for index, numbers, rank in sorted(members):
        name = patterns[index].name.format(".".join(map(str, numbers)))
        held, kept = members[index, numbers, rank]
        full, beside = (name, "") if rank == len(additions) else (f"{name} {additions[rank].label}", name)
        groups.append(LayerGroup(full, tuple(held), tuple(kept), beside))
    return LayerStack(module=module, groups=tuple(groups), tied=_tied(module))


def group_of(name: str, patterns: Sequence[GroupPattern]) -> str | None:
    """Name of the layer group that a parameter or buffer of that name belongs to; None if to none."""
    place = _place(name, patterns, [re.compile(pattern.regex) for pattern in patterns])
    return None if place is None else patterns[place[0]].name.format(".".join(map(str, place[1])))


def _rank(name: str, added: Sequence[re.Pattern[str]]) -> int:
    """The first addition that a name belongs to; their number for what is the model's own."""
    return next((number for number, regex in enumerate(added) if regex.search(name)), len(added))


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


def _outermost(stack: LayerStack, groups: Sequence[LayerGroup]) -> list[tuple[str, nn.Module]]:
    own = {name for group in groups for name in (*group.parameters, *group.buffers)}
    # A tied parameter is owned under each of its names: the module that is called may be that of an alias.
    own |= {alias for alias, name in stack.tied.items() if name in own}
    everything = {name for other in stack.groups for name in (*other.parameters, *other.buffers)} | stack.tied.keys()
    inside = Counter(path for name in everything for path in _paths(name))
    ours = Counter(path for name in own for path in _paths(name))
    found: dict[str, nn.Module] = {}
    for name, module in stack.module.named_modules():
        if inside[name] and inside[name] == ours[name] and not any(path in found for path in _paths(name)):
            found[name] = module
    return list(found.items())


def _paths(name: str) -> list[str]:
    """The modules around something, outermost first: "", "a" and "a.b" of "a.b.c"; none of the whole model."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(len(parts))] if name else []
