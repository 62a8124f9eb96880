"""Replay: what lies below the frontier is computed once per sample and then played back.

The arguments that enter the first learning module (the entry) are captured in a plain forward pass.
Later the model's own forward runs with every module before the entry passing through: it returns
an empty placeholder of the right shape, and at the entry the captured arguments are put back. What
differs between the two runs at the entry is stored per sample, without padding; what does not (masks,
positions) depends on the batch only and is made again by the model itself.

Nothing here knows an architecture. Whether it works for one is measured on two small batches of
different shape, and outputs are compared with the plain forward before anything relies on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from unfreeze.models.pretrained import Batch
from unfreeze.stack.frontier import frontier, learning_modules
from unfreeze.stack.groups import LayerStack


class NotReplayable(Exception):
    """The frozen part cannot be replayed for this architecture and frontier; the message says why."""


@dataclass(frozen=True)
class Dimension:
    """A size as a function of the batch: constant + rows·B + length·L."""

    constant: int
    rows: int = 0
    length: int = 0

    def size(self, rows: int, length: int) -> int:
        """The size for a batch of `rows` samples padded to `length`."""
        return self.constant + self.rows * rows + self.length * length


@dataclass(frozen=True)
class Template:
    """Shape and type of a tensor for any batch."""

    shape: tuple[Dimension, ...]
    dtype: torch.dtype
    device: torch.device

    def placeholder(self, rows: int, length: int) -> Tensor:
        """Zeros of that shape that take no memory."""
        shape = [dimension.size(rows, length) for dimension in self.shape]
        return torch.zeros((), dtype=self.dtype, device=self.device).expand(shape)

    def axis(self, kind: str) -> int | None:
        """The axis that grows with "rows" or "length"."""
        return next((axis for axis, dimension in enumerate(self.shape) if getattr(dimension, kind)), None)


@dataclass(frozen=True)
class Shape:
    """Rows and padded length of a batch."""

    rows: int
    length: int

    @classmethod
    def of(cls, batch: Batch) -> Shape:
        """Read from the batch's first tensor: (rows, length, …); images have the length 1."""
        tensor = next(iter(batch.values()))
        return cls(tensor.shape[0], tensor.shape[1] if tensor.dim() == 2 else 1)


@dataclass
class Replay:
    """A frontier of a model that was found to be replayable.

    `stored` lists, by leaf index of the entry's arguments, what is kept per sample; `constant` holds those
    that frozen layers compute alike for every batch.
    """

    module: nn.Module
    entry: nn.Module
    entry_name: str
    passing: Mapping[nn.Module, tuple[Any, list[Any]]]
    stored: Mapping[int, Template]
    constant: Mapping[int, Tensor]

    def of(self, module: nn.Module) -> Replay:
        """The same frontier of a module that is built alike, with other weights above the frontier."""
        names = {child: name for name, child in self.module.named_modules()}
        passing = {module.get_submodule(names[child]): values for child, values in self.passing.items()}
        return replace(self, module=module, entry=module.get_submodule(self.entry_name), passing=passing)

    def capture(self, batch: Batch) -> list[Tensor]:
        """Run the frozen part; return what has to be kept, each of shape (rows, [length,] …), padded."""
        leaves = pytree.tree_leaves(_arguments_of(self.module, self.entry, batch))
        return [_rows_first(leaves[index], template) for index, template in self.stored.items()]

    def has_length(self) -> list[bool]:
        """For each kept tensor, whether its second axis is the padded length."""
        return [template.axis("length") is not None for template in self.stored.values()]

    def forward(self, batch: Batch, features: Sequence[Tensor]) -> Tensor:
        """The model's outputs, with the frozen part played back from `features` (as `capture` returns them)."""
        kept = {
            index: _rows_back(feature, template)
            for (index, template), feature in zip(self.stored.items(), features, strict=True)
        } | dict(self.constant)
        with _passing(self.passing, Shape.of(batch)), _substituting(self.entry, kept):
            return self.module(**batch)  # type: ignore[no-any-return]


def prepare_replay(stack: LayerStack, learn: Collection[str], first: Batch, second: Batch) -> Replay:
    """Find out how the frozen part of a stack can be replayed, and check it against the plain forward.

    Parameters
    ----------
    first, second : Batch
        Two batches that differ in rows and, for texts, in length.

    Raises
    ------
    NotReplayable
        If nothing is frozen below the frontier, or the architecture does not allow it.
    """
    if frontier(stack.names, learn) == 0:
        raise NotReplayable("the lowest group learns, so nothing lies below the frontier")
    training = [(module, module.training) for module in stack.module.modules()]
    stack.module.eval()
    try:
        with torch.no_grad():
            return _prepare(stack, learn, first, second)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        # A forward pass that cannot cope with placeholders is one that cannot be replayed.
        raise NotReplayable(f"its forward pass needs values of frozen layers ({type(error).__name__})") from error
    finally:
        for module, mode in training:
            module.training = mode


def _prepare(stack: LayerStack, learn: Collection[str], first: Batch, second: Batch) -> Replay:
    module = stack.module
    owned = learning_modules(stack, learn)
    _require_owned(stack, learn, owned)
    calls = _trace(module, first)
    positions = {child: index for index, (child, _) in reversed(list(enumerate(calls)))}
    # What owns a group may never be called itself, as an nn.ModuleList; what is called first inside it counts then.
    inside = [item for name, child in owned for item in child.named_modules(prefix=name)]
    reached = [(positions[child], name, child) for name, child in inside if child in positions]
    if not reached:
        raise NotReplayable("no learning module is called in the forward pass")
    _, entry_name, entry = min(reached, key=lambda item: item[0])
    before = _outermost_before(module, entry, calls)
    shapes = Shape.of(first), Shape.of(second)
    records = [_record_outputs(module, before, batch) for batch in (first, second)]
    passing = {
        child: _templates(records[0][child], records[1][child], shapes) for child in before if child in records[0]
    }
    plain = [_arguments_of(module, entry, batch) for batch in (first, second)]
    with _passing(passing, shapes[0]):
        hollow = _arguments_of(module, entry, first)
    stored, constant = _differing(plain[0], hollow, plain[1], shapes)
    replay = Replay(module, entry, entry_name, passing, stored, constant)
    for batch in (first, second):
        check_replay(replay, batch, replay.capture(batch))
    return replay


def check_replay(replay: Replay, batch: Batch, features: Sequence[Tensor], tolerance: float = 1e-5) -> None:
    """Compare outputs from features of a batch with those of the plain forward, relative to their scale.

    Raises
    ------
    NotReplayable
        If they differ by more than `tolerance`.
    """
    expected = replay.module(**batch)
    found = replay.forward(batch, features)
    scale = float(expected.abs().max().clamp(min=1e-6))
    worst = float((expected - found).abs().max()) / scale
    if not worst <= tolerance:
        raise NotReplayable(f"replayed outputs differ from the plain forward by {worst:.1e} of their scale")


def _require_owned(stack: LayerStack, learn: Collection[str], owned: Sequence[tuple[str, nn.Module]]) -> None:
    """A learning parameter that no learning module owns may act before the entry, where it would not learn."""
    prefixes = tuple(f"{name}." for name, _ in owned)
    for group in stack.groups:
        if group.name in learn:
            loose = [name for name in group.parameters if not name.startswith(prefixes)]
            if loose:
                raise NotReplayable(f"'{loose[0]}' of {group.name} is used outside of any module of its own")


def _trace(module: nn.Module, batch: Batch) -> list[tuple[nn.Module, str]]:
    """Every module in the order in which its forward is entered, with its name."""
    calls: list[tuple[nn.Module, str]] = []
    hooks = [
        child.register_forward_pre_hook(lambda child, _, name=name: calls.append((child, name)))
        for name, child in module.named_modules()
        if child is not module
    ]
    try:
        module(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _outermost_before(
    module: nn.Module, entry: nn.Module, calls: Sequence[tuple[nn.Module, str]]
) -> dict[nn.Module, str]:
    """The outermost modules that run before the entry and may pass through.

    Containers of the entry have to run themselves. Modules without parameters but with buffers (rotary
    positions) are cheap and make values that depend on the batch only, so they run too, and so do those
    without either that are called in several places (a shared dropout).
    """
    before: dict[nn.Module, str] = {}
    inside: set[nn.Module] = set()
    times = Counter(child for child, _ in calls)
    for child, name in calls:
        if child is entry:
            break
        if child in inside or entry in set(child.modules()):
            continue
        own = any(True for _ in child.parameters())
        if times[child] > 1 and own:
            raise NotReplayable(f"'{name}' is called more than once")
        if not own and (times[child] > 1 or any(True for _ in child.buffers())):
            continue
        before[child] = name
        inside.update(grandchild for grandchild in child.modules() if grandchild is not child)
    if times[entry] != 1:
        raise NotReplayable("the first learning module is called more than once")
    return before


def _record_outputs(module: nn.Module, children: Collection[nn.Module], batch: Batch) -> dict[nn.Module, Any]:
    outputs: dict[nn.Module, Any] = {}
    hooks = [child.register_forward_hook(lambda child, _, out: outputs.__setitem__(child, out)) for child in children]
    try:
        module(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _templates(first: Any, second: Any, shapes: tuple[Shape, Shape]) -> tuple[Any, list[Any]]:
    """The structure of a module's output, with a template in the place of each tensor."""
    leaves, structure = pytree.tree_flatten(first)
    others, other_structure = pytree.tree_flatten(second)
    if structure != other_structure:
        raise NotReplayable("a frozen module returns different structures for different batches")
    return structure, [
        _template(leaf, other, shapes) if isinstance(leaf, Tensor) else leaf
        for leaf, other in zip(leaves, others, strict=True)
    ]


def _template(first: Tensor, second: Tensor, shapes: tuple[Shape, Shape]) -> Template:
    if first.dim() != second.dim():
        raise NotReplayable("a frozen module returns tensors of different rank for different batches")
    sizes = zip(first.shape, second.shape, strict=True)
    return Template(tuple(_dimension(a, b, *shapes) for a, b in sizes), first.dtype, first.device)


def _dimension(first: int, second: int, one: Shape, two: Shape) -> Dimension:
    """Explain two observed sizes by rows or length."""
    if first == second:
        return Dimension(first)
    if (first, second) == (one.rows, two.rows):
        return Dimension(0, rows=1)
    growth = two.length - one.length
    if growth and (second - first) % growth == 0:
        slope = (second - first) // growth
        return Dimension(first - slope * one.length, length=slope)
    raise NotReplayable(f"a frozen module returns sizes ({first}, {second}) that follow neither rows nor length")


def capture_together(replays: Sequence[Replay], batch: Batch) -> list[list[Tensor]]:
    """What has to be kept for several frontiers of one module, from one pass up to the highest of them."""
    if len(replays) == 1:
        return [replays[0].capture(batch)]
    kept: dict[nn.Module, list[Tensor]] = {}

    def catch(entry: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        leaves = pytree.tree_leaves((args, kwargs))
        replay = by_entry[entry]
        # Copies, since the modules above go on working with these and may do so in place.
        kept[entry] = [_rows_first(leaves[index], template).clone() for index, template in replay.stored.items()]
        if len(kept) == len(by_entry):
            raise _Reached

    by_entry = {replay.entry: replay for replay in replays}
    hooks = [entry.register_forward_pre_hook(catch, with_kwargs=True) for entry in by_entry]
    try:
        replays[0].module(**batch)
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return [kept[replay.entry] for replay in replays]


def flops_below(replay: Replay, batch: Batch) -> int:
    """Floating-point operations of products and convolutions in the frozen part, for a batch."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        replay.capture(batch)
    return int(counter.get_total_flops())


class _Reached(Exception):
    """The entry was reached: nothing above it has to run."""


def _arguments_of(module: nn.Module, entry: nn.Module, batch: Batch) -> Any:
    """The positional and keyword arguments with which the entry is called."""
    caught: list[Any] = []

    def catch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        caught.append((args, kwargs))
        raise _Reached

    hook = entry.register_forward_pre_hook(catch, with_kwargs=True)
    try:
        module(**batch)
    except _Reached:
        pass
    finally:
        hook.remove()
    return caught[0]


def _differing(
    plain: Any, hollow: Any, other: Any, shapes: tuple[Shape, Shape]
) -> tuple[dict[int, Template], dict[int, Tensor]]:
    """Leaves of the entry's arguments that carry what frozen layers computed: per sample, and alike for all."""
    leaves, structure = pytree.tree_flatten(plain)
    hollow_leaves, hollow_structure = pytree.tree_flatten(hollow)
    if structure != hollow_structure:
        raise NotReplayable("the first learning module is called differently when frozen layers pass through")
    stored: dict[int, Template] = {}
    constant: dict[int, Tensor] = {}
    for index, (leaf, empty, another) in enumerate(zip(leaves, hollow_leaves, pytree.tree_leaves(other), strict=True)):
        if not isinstance(leaf, Tensor) or _same(leaf, empty):
            continue
        if _same(leaf, another):
            constant[index] = leaf
            continue
        template = _template(leaf, another, shapes)
        grows = [axis for axis in template.shape if axis.rows or axis.length]
        if template.axis("rows") is None or len(grows) > 2 or any(axis.constant for axis in grows):
            raise NotReplayable("a value that frozen layers pass on cannot be kept per sample without its padding")
        stored[index] = template
    if not stored:
        raise NotReplayable("nothing that frozen layers compute enters the first learning module")
    return stored, constant


def _same(one: Tensor, two: Any) -> bool:
    return isinstance(two, Tensor) and one.shape == two.shape and one.dtype == two.dtype and bool(torch.equal(one, two))


def _rows_first(tensor: Tensor, template: Template) -> Tensor:
    rows, length = template.axis("rows"), template.axis("length")
    tensor = tensor.movedim(rows or 0, 0)
    if length is not None:
        tensor = tensor.movedim(length + (length < (rows or 0)), 1)
    return tensor


def _rows_back(tensor: Tensor, template: Template) -> Tensor:
    rows, length = template.axis("rows"), template.axis("length")
    if length is not None:
        tensor = tensor.movedim(1, length + (length < (rows or 0)))
    return tensor.movedim(0, rows or 0)


@contextmanager
def _passing(passing: Mapping[nn.Module, tuple[Any, list[Any]]], shape: Shape) -> Iterator[None]:
    """Let modules return placeholders instead of computing."""

    def hollow(structure: Any, leaves: list[Any]) -> Callable[..., Any]:
        def forward(*_: Any, **__: Any) -> Any:
            filled = [
                leaf.placeholder(shape.rows, shape.length) if isinstance(leaf, Template) else leaf for leaf in leaves
            ]
            return pytree.tree_unflatten(filled, structure)

        return forward

    # A module may have a forward of its own already (gradient checkpointing), which comes back.
    before = [(module, module.__dict__.get("forward")) for module in passing]
    for module, (structure, leaves) in passing.items():
        module.__dict__["forward"] = hollow(structure, leaves)
    try:
        yield
    finally:
        for module, own in before:
            del module.__dict__["forward"]
            if own is not None:
                module.__dict__["forward"] = own


@contextmanager
def _substituting(entry: nn.Module, kept: Mapping[int, Tensor]) -> Iterator[None]:
    """Put kept tensors into the arguments of the entry."""

    def put_back(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        leaves, structure = pytree.tree_flatten((args, kwargs))
        for index, tensor in kept.items():
            leaves[index] = tensor
        changed: tuple[Any, Any] = pytree.tree_unflatten(leaves, structure)
        return changed

    hook = entry.register_forward_pre_hook(put_back, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
