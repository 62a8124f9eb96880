"""The copy of a model that computes, beside the master that is trained, checked and saved.

Weights that learn keep a float32 master: small updates would be lost in bfloat16. Forward and backward passes run on
a copy in the type that the machine is fast in, so that weights are cast once per update and not at every call, and
activations never. What has to be exact is shared and not copied: buffers, normalisation over the batch, and the new
head. The copy also holds what is only about speed: memory layout and the kernels of dropout and attention.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unfreeze.stack import frontier
from unfreeze.stack.groups import LayerStack

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Working:
    """A master stack and the stack that computes for it, with the same layer groups.

    Parameters
    ----------
    stack : LayerStack
        Forward and backward passes run on its module.
    master : LayerStack
        What the optimizer moves, hooks change and a run saves: float32.
    memory_format : torch.memory_format
        That of images and convolutions.
    """

    stack: LayerStack
    master: LayerStack
    memory_format: torch.memory_format = torch.contiguous_format
    _gradients: dict[nn.Parameter, Tensor] = field(default_factory=dict, repr=False)
    _pairs: dict[tuple[str, ...], list[tuple[nn.Parameter, nn.Parameter]]] = field(default_factory=dict, repr=False)
    _stand_ins: dict[nn.Parameter, tuple[nn.Parameter, nn.Parameter]] = field(default_factory=dict, repr=False)

    @property
    def module(self) -> nn.Module:
        """The module that computes."""
        return self.stack.module

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Everything that holds parameters: the master's module, the one that computes, and what stands in."""
        return self.master.module, self.module, *(nn.ParameterList(pair) for pair in self._stand_ins.values())

    def stand_in(self, pairs: Mapping[nn.Parameter, tuple[nn.Parameter, nn.Parameter]]) -> None:
        """From now on, of these parameters of the master, let others learn in their place.

        Parameters
        ----------
        pairs : mapping of Parameter to (Parameter, Parameter)
            What the optimizer moves in its place, and what computes for that. The master's and its own copy are then
            the caller's to keep up to date.
        """
        self._stand_ins.clear()
        self._stand_ins.update(pairs)
        self._pairs.clear()
        self._gradients.clear()

    def trained(self, parameter: nn.Parameter) -> nn.Parameter:
        """What the optimizer moves in the place of a parameter of the master: itself, or what stands in for it."""
        return self._stand_ins.get(parameter, (parameter,))[0]

    def set_learning(self, learn: Collection[str]) -> None:
        """Let exactly these groups learn, in both."""
        frontier.set_learning(self.master, learn)
        frontier.set_learning(self.stack, learn)
        for whole, pair in self._stand_ins.items():
            for parameter in pair:
                parameter.requires_grad_(whole.requires_grad)
                parameter.grad = None
        self._gradients.clear()

    @torch.no_grad()
    def refresh(self, names: Collection[str]) -> None:
        """Cast the master's weights of these groups anew, after they have changed."""
        pairs = self._copied(names)
        if pairs:
            torch._foreach_copy_([mine for _, mine in pairs], [whole for whole, _ in pairs])  # type: ignore[attr-defined]

    @torch.no_grad()
    def collect(self, names: Collection[str]) -> None:
        """Add the gradients of these groups to the master's, in float32."""
        for whole, mine in self._copied(names):
            if mine.grad is None:
                continue
            if whole.grad is None:
                # Into the same memory each time: new pages for so many numbers cost as much as a layer's product.
                if whole not in self._gradients:
                    self._gradients[whole] = torch.empty_like(whole, requires_grad=False)
                whole.grad = self._gradients[whole].copy_(mine.grad)
            else:
                whole.grad += mine.grad
            mine.grad = None

    @torch.no_grad()
    def unfaithful(self, names: Collection[str]) -> str | None:
        """The first parameter of these groups that is not the master's, cast; None if all are."""
        for group in self.master.groups:
            if group.name in names:
                both = zip(self.master.parameters(group), self.stack.parameters(group), strict=True)
                for (name, whole), (_, mine) in both:
                    if whole is not mine and not torch.equal(whole.to(mine.dtype), mine):
                        return name
        return None

    def laid_out(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch in the memory layout and, for pixels, the type in which the module is fast."""
        return {
            name: tensor.to(dtype=self._pixels, memory_format=self.memory_format) if tensor.dim() == 4 else tensor
            for name, tensor in batch.items()
        }

    @property
    def _pixels(self) -> torch.dtype:
        return next(parameter.dtype for parameter in self.module.parameters())

    def _copied(self, names: Collection[str]) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Pairs of a master's parameter and its copy; those that are shared need no care."""
        key = tuple(names)
        if key not in self._pairs:
            self._pairs[key] = found = []
            for group in self.master.groups:
                if group.name in names:
                    both = zip(self.master.parameters(group), self.stack.parameters(group), strict=True)
                    pairs = (self._stand_ins.get(whole, (whole, mine)) for (_, whole), (_, mine) in both)
                    found += [(whole, mine) for whole, mine in pairs if whole is not mine]
        return self._pairs[key]


def make_working(master: LayerStack, precision: str, prepare: Sequence[Callable[[nn.Module], None]] = ()) -> Working:
    """A copy of the master's module that computes in a precision.

    Parameters
    ----------
    precision : "float32" or "bf16"
        In float32 all weights are shared with the master.
    prepare : sequence of callable (Module) -> None
        Change the copy in place: faster kernels.
    """
    module, dtype = master.module, TYPES[precision]
    exact = _exact(master)
    images = any(isinstance(child, nn.Conv2d) for child in module.modules())
    layout = torch.channels_last if images and dtype != torch.float32 else torch.contiguous_format
    shared: dict[int, object] = {id(buffer): buffer for buffer in module.buffers()}
    for parameter in module.parameters():
        keep = dtype == parameter.dtype or parameter in exact or not parameter.is_floating_point()
        shared[id(parameter)] = parameter if keep else _cast(parameter, dtype, layout)
    working = copy.deepcopy(module, shared)  # type: ignore[arg-type]
    for change in prepare:
        change(working)
    return Working(LayerStack(working, master.groups, master.tied), master, layout)


def _exact(stack: LayerStack) -> set[nn.Parameter]:
    """Parameters that stay in float32: the head's, and those of normalisation over the batch."""
    head = {parameter for _, parameter in stack.parameters(stack.groups[-1])}
    norms = (child for child in stack.module.modules() if isinstance(child, _BatchNorm))
    return head | {parameter for norm in norms for parameter in norm.parameters()}


def _cast(parameter: nn.Parameter, dtype: torch.dtype, layout: torch.memory_format) -> nn.Parameter:
    cast = parameter.detach().to(dtype)
    if cast.dim() == 4:
        cast = cast.to(memory_format=layout)
    return nn.Parameter(cast, requires_grad=parameter.requires_grad)
