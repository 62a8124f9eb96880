"""Bottleneck adapters: what one adds, and where in a block it stands.

A layer to which an adapter is attached gets it as a submodule of its own and a class of its own that calls it, so that
every pre-trained weight keeps its name, the layer its attributes, and a deep copy is a copy of everything.

Source: Houlsby et al. 2019, arXiv:1902.00751; for the other places Pfeiffer et al. 2021, arXiv:2005.00247, and He et
al. 2022, arXiv:2110.04366; for convolutions Chen et al. 2022, arXiv:2208.07463.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.groups import LayerGroup, group_of

Placement = Literal["houlsby", "pfeiffer", "parallel"]

NONLINEARITIES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

KERNEL = 3
"""Side of a convolutional adapter's window."""


class Adapter(nn.Module):
    """What is added: `down` to a narrow bottleneck, a nonlinearity, and `up` again, times a factor."""

    def __init__(self, down: nn.Module, up: nn.Module, nonlinearity: str, dropout: float, scale: float) -> None:
        super().__init__()
        self.down = down
        self.nonlinearity = NONLINEARITIES[nonlinearity]()
        self.dropout = nn.Dropout(dropout)
        self.up = up
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        """Features to what is added to them, in the features' own type."""
        own = self.up.weight.dtype  # float32 where the layer that it is attached to stays exact
        narrow = self.nonlinearity(self.down(input.to(own)))  # type: ignore[arg-type]
        added: Tensor = self.up(self.dropout(narrow)) * self.scale
        return added.to(input.dtype)


def start_as_identity(adapter: Adapter) -> None:
    """Let an adapter add exactly nothing, while its gradient is not zero: only the way up is."""
    nn.init.zeros_(adapter.up.weight)  # type: ignore[arg-type]
    nn.init.zeros_(adapter.up.bias)  # type: ignore[arg-type]
    nn.init.zeros_(adapter.down.bias)  # type: ignore[arg-type]


class _After(nn.Module):
    """output + adapter(output): one after the other."""

    adapter: Adapter

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        output: Tensor = super().forward(*args, **kwargs)
        changed: Tensor = output + self.adapter(output)
        return changed


class _Before(nn.Module):
    """The layer reads input + adapter(input)."""

    adapter: Adapter

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = super().forward(input + self.adapter(input))
        return output


class _Beside(nn.Module):
    """output + adapter(input): in parallel."""

    adapter: Adapter

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = super().forward(input) + self.adapter(input)
        return output


class _OnShortcut(nn.Module):
    """In parallel to a feed-forward part whose last layer adds the part's input, and is given it for that."""

    adapter: Adapter

    def forward(self, hidden: Tensor, shortcut: Tensor) -> Tensor:
        output: Tensor = super().forward(hidden, shortcut + self.adapter(shortcut))
        return output


@cache
def _adapted(how: type[nn.Module], layer: type[nn.Module]) -> type[nn.Module]:
    """The class of a layer of that class with an adapter."""
    return type(f"{layer.__name__}{how.__name__}", (how, layer), {})


@dataclass(frozen=True)
class Place:
    """A layer that an adapter is attached to.

    Parameters
    ----------
    how : type
        What the two compute together.
    inputs, outputs : int
        Width, or number of channels, of what the adapter reads and of what it adds to.
    stride, padding : int
        Of a convolutional adapter; stride 0 for a linear one.
    """

    layer: nn.Module
    how: type[nn.Module]
    inputs: int
    outputs: int
    stride: int = 0
    padding: int = 0

    def make(self, reduction: int, nonlinearity: str, dropout: float, scale: float) -> Adapter:
        """An adapter for this place, `reduction` times narrower than what it reads."""
        width = max(1, self.inputs // reduction)
        if not self.stride:
            down, up = nn.Linear(self.inputs, width), nn.Linear(width, self.outputs)
            return Adapter(down, up, nonlinearity, dropout, scale)
        width = next(size for size in range(width, 0, -1) if self.inputs % size == 0)
        # Each channel of the bottleneck looks at a few input channels of its own; the way up mixes them.
        narrow = nn.Conv2d(self.inputs, width, KERNEL, self.stride, self.padding, groups=width)
        return Adapter(narrow, nn.Conv2d(width, self.outputs, 1), nonlinearity, dropout, scale)

    def attach(self, adapter: Adapter) -> None:
        """Put an adapter into the model, in the layer's mode and on its device."""
        weight = next(self.layer.parameters())
        self.layer.adapter = adapter.to(weight.device).train(self.layer.training)
        self.layer.__class__ = _adapted(self.how, type(self.layer))  # type: ignore[arg-type]


Layer: TypeAlias = tuple[str, type[nn.Module]]
"""The name of a layer within its block, and the way to attach an adapter to it."""


@dataclass(frozen=True)
class Writing:
    """How a library writes a transformer's block: layers by their names within it, with the way to attach to them.

    `attention` and `feed_forward` make the two sublayers' outputs, before the sublayer's input is added to them;
    `beside` reads what the feed-forward sublayer reads, and is None where no module does.
    """

    attention: Layer
    feed_forward: str
    beside: Layer | None


WRITINGS = (
    Writing(("attention.output.dense", _After), "output.dense", ("output", _OnShortcut)),  # BERT, RoBERTa, DeBERTa
    Writing(("attention.out_lin", _After), "ffn.lin2", ("ffn", _Beside)),  # DistilBERT
    Writing(("attn.c_proj", _After), "mlp.c_proj", ("mlp", _Beside)),  # GPT-2
    Writing(("self_attn.o_proj", _After), "mlp.down_proj", ("mlp", _Beside)),  # Llama, Qwen, Gemma
    Writing(
        ("layer.0.SelfAttention.o", _After), "layer.1.DenseReluDense.wo", ("layer.1.DenseReluDense", _Beside)
    ),  # T5's encoder
    Writing(("attn.Wo", _After), "mlp.Wo", ("mlp", _Beside)),  # ModernBERT
    Writing(("attn.proj", _After), "mlp.fc2", ("mlp", _Beside)),  # timm's ViT
    # XLNet's attention projects and adds its input in one function: its adapter reads the sum, before it is normed.
    Writing(("rel_attn.layer_norm", _Before), "ff.layer_2", None),
)
"""A block is of the first kind whose layers it has all of; nothing here depends on the family's name."""


def places(pretrained: Pretrained, placement: Placement, blocks: int | None) -> list[Place]:
    """Where adapters go, lowest first: within the blocks of a transformer, after or beside those of other networks.

    Parameters
    ----------
    blocks : int or None
        Only in so many of the topmost; None: in all.

    Raises
    ------
    ModelError
        If the model has no such blocks, or this placement does not exist in its family.
    """
    groups = _topmost(pretrained, blocks)
    for writing in WRITINGS:
        roots = [_root(pretrained.module, group, writing) for group in groups]
        if all(roots):
            return [place for root in roots for place in _in_block(pretrained, str(root), writing, placement)]
    if pretrained.family.modality == "image":
        return _at_blocks(pretrained, groups, placement)
    raise ModelError(
        f"No place for an adapter is known in the blocks of the family '{pretrained.family.name}': expected layers "
        f"named such as {', '.join(writing.feed_forward for writing in WRITINGS[:4])}."
    )


def _topmost(pretrained: Pretrained, blocks: int | None) -> Sequence[LayerGroup]:
    groups = [group for group in pretrained.stack().groups if group.name.startswith("block ")]
    if not groups:
        raise ModelError(f"Models of the family '{pretrained.family.name}' have no blocks for adapters to go into.")
    if blocks is not None and blocks > len(groups):
        raise ModelError(
            f"method.options.blocks must be at most {len(groups)}, the number of blocks of "
            f"'{pretrained.provenance.name}'. Got {blocks} instead."
        )
    return groups if blocks is None else groups[-blocks:]


# -------------------------------------------------------------------------------------------- transformers


def _root(module: nn.Module, group: LayerGroup, writing: Writing) -> str | None:
    """Name of the module whose block this is, if it is written so."""
    end = f".{writing.attention[0]}.weight"
    wanted = [writing.feed_forward, *([writing.beside[0]] if writing.beside else [])]
    for name in group.parameters:
        root = name.removesuffix(end)
        if name != root and all(_has(module.get_submodule(root), path) for path in wanted):
            return root
    return None


def _has(module: nn.Module, path: str) -> bool:
    return any(name == path for name, _ in module.named_modules())


def _in_block(pretrained: Pretrained, root: str, writing: Writing, placement: Placement) -> Iterator[Place]:
    block = pretrained.module.get_submodule(root)
    last = block.get_submodule(writing.feed_forward)
    width = int(getattr(last, "out_features", 0) or last.nf)  # type: ignore[arg-type]  # nf: GPT-2's own linear layer
    after: Layer = (writing.feed_forward, _After)
    chosen = [writing.attention, after] if placement == "houlsby" else [after]
    if placement == "parallel":
        if writing.beside is None:
            raise ModelError(
                f"method.options.placement 'parallel' does not exist in the family '{pretrained.family.name}', whose "
                "feed-forward sublayer adds its input within itself. Take houlsby or pfeiffer."
            )
        chosen = [writing.beside]
    for path, how in chosen:
        yield Place(block.get_submodule(path), how, width, width)


# ----------------------------------------------------------------------------------- convolutional networks


def _at_blocks(pretrained: Pretrained, groups: Sequence[LayerGroup], placement: Placement) -> list[Place]:
    family = pretrained.family.name
    if placement == "houlsby":
        raise ModelError(
            f"method.options.placement 'houlsby' does not exist in the family '{family}', whose blocks have no "
            "attention and feed-forward sublayers. Take pfeiffer (after each block) or parallel (beside it)."
        )
    layers = [_last_layer(pretrained, group) for group in groups]
    seen = _shapes(pretrained, layers)
    found = []
    for group, layer in zip(groups, layers, strict=True):
        if len(seen.get(layer, ())) != 1 or any(len(shape) != 4 for shape in seen[layer][0]):
            raise ModelError(
                f"'{group.name}' of the family '{family}' has no image of its own that an adapter can read."
            )
        read, made = seen[layer][0]
        if placement == "pfeiffer":
            found.append(Place(layer, _After, made[1], made[1], stride=1, padding=KERNEL // 2))
            continue
        window = _window(read, made)
        if window is None:
            raise ModelError(
                f"method.options.placement 'parallel' does not exist for '{group.name}' of the family '{family}': no "
                f"convolution makes {made[2]} x {made[3]} of {read[2]} x {read[3]} positions. Take pfeiffer."
            )
        found.append(Place(layer, _Beside, read[1], made[1], *window))
    return found


def _last_layer(pretrained: Pretrained, group: LayerGroup) -> nn.Module:
    """The last of the outermost modules that belong to a group together with whatever is put into them."""
    outermost: list[str] = []
    for name, module in pretrained.module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in outermost)
        chain = isinstance(module, (nn.Sequential, nn.ModuleList))  # whatever is put into these is called in turn
        own = any(True for _ in module.parameters()) and group_of(f"{name}.adapter.up", pretrained.family.patterns)
        if own == group.name and not inside and not chain:
            outermost.append(name)
    if not outermost:
        raise ModelError(
            f"'{group.name}' of the family '{pretrained.family.name}' has no layer that an adapter can be attached to."
        )
    return pretrained.module.get_submodule(outermost[-1])


def _shapes(
    pretrained: Pretrained, layers: Sequence[nn.Module]
) -> dict[nn.Module, list[tuple[torch.Size, torch.Size]]]:
    """What each layer reads and makes of a black image, at each call."""
    seen: dict[nn.Module, list[tuple[torch.Size, torch.Size]]] = {}
    module, spec = pretrained.module, pretrained.spec
    modes = [(child, child.training) for child in module.modules()]
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, out: seen.setdefault(layer, []).append((args[0].shape, out.shape))
        )
        for layer in layers
    ]
    pixels = next(module.parameters()).new_zeros(1, spec["channels"], spec["image_size"], spec["image_size"])
    try:
        with torch.no_grad():
            module.eval()(pixels)
    finally:
        for hook in hooks:
            hook.remove()
        for child, mode in modes:
            child.training = mode
    return seen


def _window(read: torch.Size, made: torch.Size) -> tuple[int, int] | None:
    """Stride and padding of a convolution that makes as many positions; None if there is none."""
    for stride in (1, 2, 4):
        for padding in (KERNEL // 2, 0):
            sizes = [(size + 2 * padding - KERNEL) // stride + 1 for size in read[2:]]
            if sizes == list(made[2:]):
                return stride, padding
    return None
