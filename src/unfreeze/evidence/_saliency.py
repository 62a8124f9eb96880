"""Where a network looked: places of an image's last features, words of a text, and a check of both."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unfreeze.evidence._features import channels_last, first_tensor, group_modules
from unfreeze.stack.groups import LayerStack

POSITIONS = 9
"""Places that a map needs: fewer show nothing."""

PIECES, WORDS, LONG = 40, 400, 16
"""Parts of a text that are left out one after the other, words that are looked at, and letters of a word that is cut
up (scripts that put no spaces between words)."""


# ------------------------------------------------------------------------------------------------ images


@contextmanager
def _seeing(stack: LayerStack, seen: list[tuple[str, Tensor]]) -> Iterator[None]:
    """While this lasts, what leaves the modules of each group below the head is noted, in the order of the pass."""

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def noted(_: nn.Module, __: Any, output: Any) -> None:
            tensor = first_tensor(output)
            if tensor is not None and tensor.requires_grad:
                seen.append((name, tensor))

        return noted

    groups = group_modules(stack)
    groups.pop(stack.names[-1], None)
    handles = [module.register_forward_hook(note(group)) for group, modules in groups.items() for _, module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def on_a_grid(features: Tensor, prefix: int) -> Tensor | None:
    """Features of one image as (channels, height, width); None where they are not spread over an image.

    Parameters
    ----------
    features : Tensor of shape (1, channels, height, width), (1, height, width, channels) or (1, tokens, channels)
    prefix : int
        Tokens before those of the image, such as the class token.
    """
    if features.dim() == 4:
        return features[0].permute(2, 0, 1) if channels_last(features) else features[0]
    if features.dim() != 3:
        return None
    side = math.isqrt(max(0, features.shape[1] - prefix))
    if side * side != features.shape[1] - prefix:
        return None
    return features[0, prefix:].T.reshape(-1, side, side)


def activation_map(
    stack: LayerStack, pixels: Tensor, output: int, layer: str | None = None
) -> tuple[str, NDArray[Any]] | None:
    """The layer group that was looked at, and how much each place of its features speaks for an output.

    That is Σ G A over channels, with A the group's features and G their gradients (HiResCAM: Draelos & Carin 2020,
    arXiv:2011.08891). In a network that ends with a mean over places and a linear layer it is Grad-CAM before its ReLU
    (Selvaraju et al. 2017, arXiv:1610.02391), which averages gradients over places and in any other network may mark
    places that were not looked at. The topmost group is taken that still has places, and on whose places the output
    depends: what leaves a transformer's last block speaks through its class token alone.

    Parameters
    ----------
    pixels : Tensor of shape (1, channels, size, size)
        As the model reads them.
    output : int
    layer : str, optional
        The group to look at.

    Returns
    -------
    str, and array of shape (height, width), below 0 where a place speaks against the output; or None where no group has
    nine places
    """
    seen: list[tuple[str, Tensor]] = []
    prefix = int(getattr(getattr(stack.module, "backbone", None), "num_prefix_tokens", 0))
    with torch.enable_grad(), _seeing(stack, seen):
        score = stack.module(pixel_values=pixels.detach().requires_grad_(True))[0, output]
        for name, features in reversed(seen):
            if layer not in (None, name):
                continue
            places = on_a_grid(features, prefix)
            if places is None or places.shape[1] * places.shape[2] < POSITIONS:
                continue
            gradient = torch.autograd.grad(score, features, retain_graph=True, allow_unused=True)[0]
            slopes = None if gradient is None else on_a_grid(gradient, prefix)
            if slopes is not None and bool(slopes.any()):
                return name, (slopes * places).sum(dim=0).detach().float().cpu().numpy()
    return None


# ------------------------------------------------------------------------------------------------- texts


def pieces(text: str) -> list[tuple[int, int]]:
    """Where the parts of a text begin and end that are left out one after the other: words, or several together."""
    spans: list[tuple[int, int]] = []
    for word in re.finditer(r"\S+", text):
        start, end = word.span()
        step = 4 if end - start > LONG else end - start
        spans += [(at, min(at + step, end)) for at in range(start, end, step)]
    spans = spans[:WORDS]
    together = max(1, -(-len(spans) // PIECES))
    return [(part[0][0], part[-1][1]) for part in (spans[at : at + together] for at in range(0, len(spans), together))]


def without(item: str | tuple[str, str]) -> tuple[list[tuple[int, int, int]], list[Any]]:
    """The parts of a text or pair as (which text, begin, end), and the input without each of them."""
    texts = item if isinstance(item, tuple) else (item,)
    parts = [(number, start, end) for number, text in enumerate(texts) for start, end in pieces(text)]
    changed: list[Any] = []
    for number, start, end in parts:
        left = [text if at != number else text[:start] + text[end:] for at, text in enumerate(texts)]
        changed.append((left[0], left[1]) if isinstance(item, tuple) else left[0])
    return parts, changed


# ------------------------------------------------------------------------------------------------- check


def top_groups(stack: LayerStack, layer: str | None = None) -> list[str]:
    """The head and the groups below it down to `layer`, or else down to the first that has a matrix."""
    names = stack.names
    if layer is not None:
        return list(names[names.index(layer) :])
    for place in range(len(names) - 2, -1, -1):
        group = stack.groups[place]
        if not group.beside and any(parameter.dim() > 1 for _, parameter in stack.parameters(group)):
            return list(names[place:])
    return list(names[-1:])


def randomised(stack: LayerStack, groups: Sequence[str], seed: int) -> LayerStack:
    """The stack with the weights of some groups shuffled within each tensor; it shares everything else.

    Shuffled weights keep their scale, so that what the network computes stays within its usual range.
    """
    draw = torch.Generator().manual_seed(seed)
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*stack.module.parameters(), *stack.module.buffers())}
    for name in groups:
        for _, parameter in stack.parameters(stack.group(name)):
            order = torch.randperm(parameter.numel(), generator=draw).to(parameter.device)
            mixed = parameter.detach().flatten()[order].view_as(parameter)
            shared[id(parameter)] = nn.Parameter(mixed, requires_grad=parameter.requires_grad)
    return LayerStack(copy.deepcopy(stack.module, shared), stack.groups, stack.tied)


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Spearman's correlation of the sizes of two maps, whatever their signs; None where one of them is flat."""
    first, second = (_ranks(np.abs(each).ravel()) for each in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Places from the smallest to the largest; equal values share the mean of theirs (scipy.stats loads slowly)."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    places: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(places[which])
