"""Features of a model outside of training: what enters its head, and what leaves each of its layer groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils import _pytree as pytree

from unfreeze.data.manifest import Input
from unfreeze.evaluation.kept import keeping
from unfreeze.evaluation.reading import fast, read
from unfreeze.evidence._context import Context
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.working import Working
from unfreeze.train.feed import to_device
from unfreeze.train.order import generator


def computing(context: Context, pretrained: Pretrained) -> Working:
    """A model in the form that computes, alike for every model of a run: equal weights give equal features."""
    device = next(context.pretrained.module.parameters()).device
    pretrained.module.to(device)
    return fast(pretrained, context.recipe.training.precision)


def sampled(count: int, most: int, seed: int) -> list[int]:
    """At most so many row numbers, drawn by seed, in their order."""
    return sorted(generator(seed, 6).permutation(count)[:most].tolist())


def head_features(pretrained: Pretrained, working: Working, inputs: Sequence[Input], batch_size: int) -> Tensor:
    """What enters the head for each input: float32 of shape (inputs, width)."""
    with keeping(working.module, len(inputs)) as keeper:
        for rows, outputs in read(pretrained, working, inputs, batch_size):
            keeper.keep(rows, outputs)
    return keeper.kept().features


def group_features(
    pretrained: Pretrained, working: Working, inputs: Sequence[Input], batch_size: int
) -> dict[str, Tensor]:
    """What leaves each layer group, averaged over tokens or space: (inputs, width), from one pass.

    Groups that a method added, and those whose output has no row for each input, are left out.
    """
    seen = _Seen()
    found: dict[str, Tensor] = {}
    with _seeing(working, _exits(pretrained, working, inputs), seen):
        for rows, _ in read(pretrained, working, inputs, batch_size):
            for name, features in seen.features.items():
                if name not in found:
                    found[name] = torch.zeros(len(inputs), features.shape[1])
                found[name][torch.tensor(rows)] = features
            seen.features.clear()
    return found


def group_modules(stack: LayerStack) -> dict[str, list[tuple[str, nn.Module]]]:
    """The outermost modules with parameters of each group of the model itself; a group with additions as a whole."""
    return {
        group.name: [
            (name, module)
            for name, module in (stack.surroundings(group) if group is not stack.groups[-1] else stack.modules(group))
            if any(True for _ in module.parameters())
        ]
        for group in stack.groups
        if not group.beside
    }


@dataclass(frozen=True)
class _Exit:
    """The module whose output leaves a group, and whether that has tokens before rows."""

    module: nn.Module
    tokens_first: bool


@torch.inference_mode()
def _exits(pretrained: Pretrained, working: Working, inputs: Sequence[Input]) -> dict[str, _Exit]:
    """For each group the last of its modules in the pass that gives something for each row, seen on a few rows.

    A table of positions, looked up once for all rows, is none.
    """
    samples = [pretrained.preprocess.encode(item) for item in inputs[:3]]
    device = next(working.module.parameters()).device
    batches = [
        pretrained.preprocess.collate(samples[:count]) for count in range(min(2, len(samples)), len(samples) + 1)
    ]
    # Rows must not be as many as tokens, or the two could not be told apart.
    batch = next((each for each in batches if len(set(next(iter(each.values())).shape[:2])) > 1), batches[-1])
    rows = len(next(iter(batch.values())))
    found: dict[str, _Exit] = {}

    def note(group: str) -> Callable[[nn.Module, Any, Any], None]:
        def noted(module: nn.Module, _: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and tensor.dim() > 1 and tensor.shape[0] == rows:
                found[group] = _Exit(module, tokens_first=False)
            elif tensor is not None and tensor.dim() == 3 and tensor.shape[1] == rows:
                found[group] = _Exit(module, tokens_first=True)

        return noted

    modules = [(group, module) for group, several in group_modules(working.stack).items() for _, module in several]
    handles = [module.register_forward_hook(note(group)) for group, module in modules]
    working.module.eval()
    try:
        working.module(**working.laid_out(to_device(batch, device)))
    finally:
        for handle in handles:
            handle.remove()
    return found


@dataclass
class _Seen:
    """Of the latest pass: its rows and mask, and the pooled features of each group."""

    rows: int = 0
    mask: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, _: nn.Module, __: tuple[Any, ...], batch: dict[str, Any]) -> None:
        """A pass begins."""
        self.rows = len(next(iter(batch.values())))
        self.mask = batch.get("attention_mask")

    def note(self, group: str, tokens_first: bool, output: Any) -> None:
        """A group's exit gave something."""
        tensor = first_tensor(output)
        assert tensor is not None, "it gave one before"
        features = pooled(tensor.transpose(0, 1) if tokens_first else tensor, self.rows, self.mask)
        if features is not None:
            self.features[group] = features.cpu()


@contextmanager
def _seeing(working: Working, exits: Mapping[str, _Exit], seen: _Seen) -> Iterator[None]:
    def note(group: str, tokens_first: bool) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _, __, output: seen.note(group, tokens_first, output)

    handles = [working.module.register_forward_pre_hook(seen.begin, with_kwargs=True)]
    handles += [each.module.register_forward_hook(note(group, each.tokens_first)) for group, each in exits.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of numbers in what a module returned."""
    leaves = pytree.tree_leaves(output)
    return next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()), None)


def channels_last(tensor: Tensor) -> bool:
    """Whether an image's features have the shape (rows, height, width, channels); images are square."""
    return tensor.shape[1] == tensor.shape[2] != tensor.shape[3]


def pooled(tensor: Tensor, rows: int, mask: Tensor | None) -> Tensor | None:
    """Features of shape (rows, width): the mean over real tokens or over space; None where there is no row for each.

    Parameters
    ----------
    mask : Tensor of shape (rows, tokens), optional
        1 for a real token. Tokens that a method put in front are real.
    """
    tensor = tensor.float()
    if tensor.dim() not in (2, 3, 4) or tensor.shape[0] != rows:
        return None
    if tensor.dim() == 4:
        return tensor.mean(dim=(1, 2) if channels_last(tensor) else (2, 3))
    if tensor.dim() == 2:
        return tensor
    if mask is None:
        return tensor.mean(dim=1)
    if tensor.shape[1] < mask.shape[1]:
        return None
    weights = pad(mask, (tensor.shape[1] - mask.shape[1], 0), value=1).to(tensor.dtype).unsqueeze(-1)
    return (tensor * weights).sum(dim=1) / weights.sum(dim=1)
