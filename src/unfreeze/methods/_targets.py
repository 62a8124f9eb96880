"""Which layers of a model are meant: by name, by layer group, and by what can be done with them. Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unfreeze.errors import ModelError, RecipeError, nearest
from unfreeze.progress import counted

if TYPE_CHECKING:
    from torch import nn

    from unfreeze.models.pretrained import Pretrained

WHERE = "method.options.targets"

OUTSIDE = "outside the blocks, where only `backbone.` and the whole name mean one"

SHOWN = 4
"""Names that a message lists."""


@dataclass(frozen=True)
class Layer:
    """A module that holds weights itself: its name below `backbone`, and the layer group in which it lies."""

    name: str
    module: nn.Module
    group: str


@dataclass(frozen=True)
class Targets:
    """The layers that were meant, lowest first, and those of their kind that are left as they are, with the reason."""

    layers: tuple[Layer, ...]
    left_out: tuple[tuple[Layer, str], ...] = ()

    @property
    def names(self) -> list[str]:
        """Of the layers, below `backbone`."""
        return [layer.name for layer in self.layers]


def find_targets(
    pretrained: Pretrained,
    patterns: Sequence[str] | None,
    blocks: int | None,
    refusal: Callable[[nn.Module], str | None],
    by_default: Callable[[Layer], bool],
) -> Targets:
    """The layers that a method changes.

    A pattern means the layers within the blocks that have it as their name or its end ("query",
    "attention.self.query"), or whose whole name below `backbone` it matches as a regular expression; where there are
    none within the blocks, those elsewhere. With `backbone.` before it a name means this one layer. The head is never
    meant.

    Parameters
    ----------
    patterns : sequence of str, or None for every layer within the blocks of which `by_default` holds
    blocks : int or None
        Only in so many of the topmost blocks.
    refusal : callable (module) -> str or None
        Why a layer cannot be changed; None if it can.

    Raises
    ------
    RecipeError
        If a pattern means nothing, or layers of which some cannot be changed.
    ModelError
        If the model has no such layers, or fewer blocks.
    """
    layers = layers_of(pretrained)
    inside = set(topmost_blocks(pretrained, blocks))
    if patterns is None:
        candidates = [layer for layer in layers if layer.group in inside and by_default(layer)]
        reasons = [(layer, refusal(layer.module)) for layer in candidates]
        chosen = tuple(layer for layer, reason in reasons if reason is None)
        if not chosen:
            kinds = "; ".join(sorted({reason for _, reason in reasons if reason})) or "there are none of the kind"
            raise ModelError(
                f"No layer within the blocks of '{pretrained.provenance.name}' can be changed by this method: {kinds}."
            )
        return Targets(chosen, tuple((layer, reason) for layer, reason in reasons if reason is not None))
    if not patterns:
        raise RecipeError(f"{WHERE} must name at least one layer. Got an empty list instead.")
    problems: list[str] = []
    meant: set[str] = set()
    for pattern in patterns:
        try:
            meant |= {layer.name for layer in _meant(pattern, layers, inside, blocks is not None, refusal)}
        except RecipeError as error:
            problems.extend(error.problems)
    if problems:
        raise RecipeError(problems)
    chosen = tuple(layer for layer in layers if layer.name in meant)
    # A pattern that names layers within the blocks does not mean those of that name elsewhere, which is said.
    every_block = set(topmost_blocks(pretrained, None))
    elsewhere = [layer for layer in layers if layer.group not in every_block and layer.name not in meant]
    others = [layer for layer in elsewhere if any(means(pattern, layer.name) for pattern in patterns)]
    return Targets(chosen, tuple((layer, OUTSIDE) for layer in others))


def layers_of(pretrained: Pretrained) -> list[Layer]:
    """Every module below the head that holds parameters or buffers itself, in the module's order."""
    from unfreeze.stack.groups import group_of

    head = pretrained.family.patterns[-1].name
    found = []
    for name, module in pretrained.module.get_submodule("backbone").named_modules():
        own = next((key for key in (*module._parameters, *module._buffers) if getattr(module, key) is not None), None)
        group = group_of(f"backbone.{name}.{own}", pretrained.family.patterns) if name and own else None
        if group is not None and group != head:
            found.append(Layer(name, module, group))
    return found


def topmost_blocks(pretrained: Pretrained, count: int | None) -> list[str]:
    """Names of the layer groups that are the topmost `count` blocks (None: all), lowest first.

    Raises
    ------
    ModelError
        If the model has no blocks, or fewer.
    """
    groups = pretrained.stack().groups
    names = [group.name for group in groups if group.name.startswith("block ") and not group.beside]
    if not names:
        raise ModelError(f"'{pretrained.provenance.name}' ({pretrained.family.name}) has no blocks.")
    if count is not None and count > len(names):
        raise ModelError(
            f"method.options.blocks must be at most {len(names)}, the number of blocks of "
            f"'{pretrained.provenance.name}'. Got {count} instead."
        )
    return names if count is None else names[-count:]


def means(pattern: str, name: str) -> bool:
    """Whether a pattern means the layer of that name below `backbone`."""
    if pattern.startswith("backbone."):
        return _fully(pattern, f"backbone.{name}")
    return name == pattern or name.endswith(f".{pattern}") or _fully(pattern, name)


def _fully(pattern: str, name: str) -> bool:
    if name == pattern:
        return True
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error as error:
        raise RecipeError(f"{WHERE}: '{pattern}' is no name and no regular expression ({error}).") from None


def _meant(
    pattern: str,
    layers: Sequence[Layer],
    inside: set[str],
    only_inside: bool,
    refusal: Callable[[nn.Module], str | None],
) -> list[Layer]:
    def hint() -> str:
        return _hint(pattern, [layer for layer in layers if layer.group in inside and refusal(layer.module) is None])

    everywhere = [layer for layer in layers if means(pattern, layer.name)]
    found = [layer for layer in everywhere if layer.group in inside] or ([] if only_inside else everywhere)
    if not found:
        where = "within the topmost blocks that method.options.blocks names" if only_inside else "below the head"
        raise RecipeError(f"{WHERE}: '{pattern}' is no layer {where}. {hint()}")
    refused = [(layer, refusal(layer.module)) for layer in found]
    refused = [(layer, reason) for layer, reason in refused if reason is not None]
    if refused:
        some = ", ".join(f"{layer.name} ({reason})" for layer, reason in refused[:SHOWN])
        more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        rest = [layer for layer in found if layer not in [refused_one for refused_one, _ in refused]]
        others = f"Of the same pattern these can: {', '.join(ends(rest)[:SHOWN])}." if rest else hint()
        raise RecipeError(
            f"{WHERE}: '{pattern}' matches {len(found)} layers, of which {len(refused)} cannot be changed: "
            f"{some}{more}. {others}"
        )
    return found


def _hint(pattern: str, layers: Sequence[Layer]) -> str:
    """The nearest name, also of those that are only the last part; else what there is."""
    called = ends(layers)
    near = nearest(pattern, [*called, *(name.rpartition(".")[2] for name in called)])
    return near if near.startswith("Did you mean") else nearest(pattern, called)


def ends(layers: Sequence[Layer]) -> list[str]:
    """How the layers are called within their blocks, each once."""
    return list(dict.fromkeys(re.sub(r"^.*\.\d+\.", "", layer.name) for layer in layers))


# --------------------------------------------------------------------------------------------- kinds, words


def is_linear(module: nn.Module) -> bool:
    """A linear layer, also transformers' with its weights the other way round."""
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def is_convolution(module: nn.Module) -> bool:
    """A convolution over texts or images."""
    from torch import nn

    return isinstance(module, (nn.Conv1d, nn.Conv2d))


def linear_or_convolution(layer: Layer) -> bool:
    """Whether a layer is either."""
    return is_linear(layer.module) or is_convolution(layer.module)


def own_kind(module: nn.Module) -> str | None:
    """Why a layer is not torch's own linear layer or convolution, or one that computes as these do; None if it is."""
    from torch import nn

    name = type(module).__name__
    if not is_linear(module) and not is_convolution(module):
        return f"a {name}"
    if name == "NonDynamicallyQuantizableLinear":
        return "torch's attention reads its weights without calling it"
    plain = (nn.Linear.forward, nn.Conv1d.forward, nn.Conv2d.forward)
    if type(module).forward in plain or name in ("Conv1D", "Conv2dSame", "QuantisedLinear"):
        return None
    return f"a {name}, which computes in its own way"


def words(layers: Sequence[Layer]) -> list[str]:
    """A line for the layers that differ by their number only: name with shape, and how many."""
    numbers = Counter(f"{_masked(layer.name)} ({shape_words(layer.module)})" for layer in layers)
    return [line if count == 1 else f"{line}, {count} times" for line, count in numbers.items()]


def left_out_words(targets: Targets) -> list[str]:
    """A line for each reason why layers are left as they are."""
    by_reason: dict[str, list[Layer]] = {}
    for layer, reason in targets.left_out:
        by_reason.setdefault(reason, []).append(layer)
    return [
        f"left as they are: {counted(len(layers), 'layer')}, {reason} ({', '.join(ends(layers)[:SHOWN])})"
        for reason, layers in by_reason.items()
    ]


def _masked(name: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def shape_words(module: nn.Module) -> str:
    """Widths of what a layer reads and makes, and a convolution's window."""
    from torch import nn

    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        window = " x ".join(map(str, module.kernel_size))
        return f"{module.in_channels} to {module.out_channels} channels, {window}"
    if isinstance(module, nn.Linear):
        return f"{module.in_features} to {module.out_features}"
    weight = getattr(module, "weight", None)
    return " to ".join(map(str, weight.shape)) if weight is not None else type(module).__name__
