"""Learned keys and values that every attention layer finds in front of those of its own tokens.

transformers looks attention functions up by name. Here each gets a second name, "prefix+sdpa", under which the prefix
of the layer that calls is put in front first. So masks, position biases, grouped heads, gradient checkpointing and our
own faster attention stay what they are, and nothing pretends to be a cache of earlier tokens.

Legend of shapes: B rows, H heads, G heads of keys and values, T tokens, P length of the prefix, D width of a head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unfreeze import _torchvision  # noqa: F401  (before transformers)
from unfreeze.errors import ModelError
from unfreeze.models import attention
from unfreeze.models.text import TextModel, position_limit
from unfreeze.models.virtual import VirtualTokens, leave_room, normal, size_of, starting_ids

if TYPE_CHECKING:
    from unfreeze.methods.prefix import PrefixOptions
    from unfreeze.models.pretrained import Pretrained

MARK = "prefix+"
"""What stands before the name of the attention function that goes on."""

INNER = ("sdpa", "eager", attention.NAME)
LOOK = "unfreeze-look"


class Prefix(nn.Module):
    """The keys and values of one attention layer.

    Parameters
    ----------
    keys_GPD, values_GPD : Tensor
        What they begin as.
    units : pair of Tensor
        Root mean square of real keys and values.
    hidden : int, optional
        Width of the network through which they are trained (`VirtualTokens`).
    gated_heads : int
        With heads of the query, attention to the prefix is a sum of its own that enters through a gate for each,
        closed at first (Zhang et al. 2023, arXiv:2303.16199); 0: prefix and tokens share one softmax.
    """

    def __init__(
        self, keys_GPD: Tensor, values_GPD: Tensor, units: tuple[Tensor, Tensor], hidden: int | None, gated_heads: int
    ) -> None:
        super().__init__()
        parts = [part.transpose(0, 1).flatten(1) for part in (keys_GPD, values_GPD)]
        unit = torch.cat([unit.expand(part.shape[1]) for part, unit in zip(parts, units, strict=True)])
        self.virtual = VirtualTokens(torch.cat(parts, dim=1), unit, hidden)
        self.heads = keys_GPD.shape[0]
        self.key_width = parts[0].shape[1]
        self.gate = nn.Parameter(torch.zeros(gated_heads)) if gated_heads else None

    def forward(self) -> tuple[Tensor, Tensor]:
        """Keys and values, each of shape (G, P, D)."""
        both = self.virtual()
        keys, values = both[:, : self.key_width], both[:, self.key_width :]
        keys_GPD, values_GPD = (part.unflatten(1, (self.heads, -1)).transpose(0, 1) for part in (keys, values))
        return keys_GPD, values_GPD


def attend(
    inner: str,
    module: nn.Module,
    query_BHTD: Tensor,
    key_BGTD: Tensor,
    value_BGTD: Tensor,
    attention_mask: Tensor | None,
    **more: Any,
) -> tuple[Tensor, Any]:
    """Attention by the function named `inner`, with the calling layer's prefix where it has one.

    Parameters and result are those of transformers' attention functions, see `unfreeze.models.attention.attention`.
    """
    plain = _function(inner, module)
    prefix = getattr(module, "prefix", None)
    if prefix is None:
        found: tuple[Tensor, Any] = plain(module, query_BHTD, key_BGTD, value_BGTD, attention_mask, **more)
        return found
    keys_GPD, values_GPD = (part.to(query_BHTD.dtype) for part in prefix())
    if prefix.gate is not None:
        tokens_BTHD, weights = plain(module, query_BHTD, key_BGTD, value_BGTD, attention_mask, **more)
        own_BTHD = _alone(query_BHTD, keys_GPD, values_GPD, more.get("scaling"))
        return tokens_BTHD + prefix.gate.tanh().to(own_BTHD.dtype)[:, None] * own_BTHD, weights
    rows, length = len(key_BGTD), keys_GPD.shape[1]
    key, value = (
        torch.cat([part.expand(rows, -1, -1, -1), of_tokens], dim=2)
        for part, of_tokens in ((keys_GPD, key_BGTD), (values_GPD, value_BGTD))
    )
    causal = more.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    mask = _longer(attention_mask, query_BHTD, key_BGTD.shape[2], length, causal)
    if more.get("position_bias") is not None:
        # A prefix has no place in the order of the tokens, and no bias for its distance from them.
        more["position_bias"] = nn.functional.pad(more["position_bias"], (length, 0))
    return plain(module, query_BHTD, key, value, mask, **more)


def _function(inner: str, module: nn.Module) -> Callable[..., tuple[Tensor, Any]]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if inner == "eager":  # each architecture has its own
        architecture: Any = sys.modules[type(module).__module__]
        return architecture.eager_attention_forward  # type: ignore[no-any-return]
    return ALL_ATTENTION_FUNCTIONS[inner]  # type: ignore[no-any-return]


def _alone(query_BHTD: Tensor, keys_GPD: Tensor, values_GPD: Tensor, scaling: float | None) -> Tensor:
    """What the tokens read of the prefix, if there were nothing else to look at: (B, T, H, D)."""
    several = query_BHTD.shape[1] // keys_GPD.shape[0]
    keys_HPD, values_HPD = (part.repeat_interleave(several, dim=0) for part in (keys_GPD, values_GPD))
    scores_BHTP = query_BHTD @ keys_HPD.mT * (query_BHTD.shape[-1] ** -0.5 if scaling is None else scaling)
    return (scores_BHTP.softmax(-1) @ values_HPD).transpose(1, 2)


def _longer(mask: Tensor | None, query_BHTD: Tensor, keys: int, length: int, causal: bool) -> Tensor | None:
    """The mask with `length` places in front, at which every token may look."""
    queries = query_BHTD.shape[2]
    if mask is None:
        if not causal or queries == 1:
            return None
        # Without a mask a function would count the prefix among the tokens and hide its end from the first of them.
        hidden = torch.ones(queries, keys, dtype=torch.bool, device=query_BHTD.device).triu(keys - queries + 1)
        lowest = torch.finfo(query_BHTD.dtype).min
        mask = torch.zeros(1, 1, queries, keys, dtype=query_BHTD.dtype, device=query_BHTD.device)
        mask = mask.masked_fill(hidden, lowest)
    places = (*mask.shape[:-1], length)
    front = mask.new_ones(places) if mask.dtype == torch.bool else mask.new_zeros(places)
    return torch.cat([front, mask], dim=-1)


# ------------------------------------------------------------------------------------------------ putting it in


@dataclass(frozen=True)
class Seen:
    """One attention layer, and the keys and values that it made of some tokens; `heads` are the query's."""

    module: nn.Module
    heads: int
    keys_GPD: Tensor
    values_GPD: Tensor


def add_prefix(pretrained: Pretrained, settings: PrefixOptions) -> None:
    """Give the attention layers of a text model a prefix, in place.

    Raises
    ------
    ModelError
        If the model's attention has no place for it, or there are fewer layers than asked for.
    """
    backbone = _backbone(pretrained)
    assert settings.length is not None, "decided by the rewrite"
    limit = position_limit(pretrained.family, backbone.config)
    if limit is not None and settings.length > limit:
        raise ModelError(
            f"method.options.length must be at most {limit}, the number of positions of "
            f"'{pretrained.provenance.name}'. Got {settings.length} instead."
        )
    tokenizer = pretrained.preprocess.tokenizer  # type: ignore[attr-defined]
    layers = look(backbone, starting_ids(tokenizer, settings.length, settings.text))
    count = len(layers) if settings.blocks is None else settings.blocks
    if count > len(layers):
        raise ModelError(
            f"method.options.blocks must be at most the {len(layers)} blocks of '{pretrained.provenance.name}'. "
            f"Got {count} instead."
        )
    for layer in layers[len(layers) - count :]:
        parts = layer.keys_GPD, layer.values_GPD
        units = size_of(parts[0]), size_of(parts[1])
        if settings.start == "random":
            parts = normal(*parts[0].shape) * units[0], normal(*parts[1].shape) * units[1]
        hidden = settings.hidden if settings.reparameterise else None
        layer.module.prefix = Prefix(*parts, units, hidden, layer.heads if settings.gate else 0)
    _register()
    for config in _configs(backbone):
        config._attn_implementation = MARK + config._attn_implementation
    _shift(pretrained, settings)


def _backbone(pretrained: Pretrained) -> nn.Module:
    module, family = pretrained.module, pretrained.family.name
    if not isinstance(module, TextModel):
        raise ModelError(
            f"'prefix' is for text models, and '{family}' reads images. For vision transformers 'prompt' does the "
            "same: with method.options.deep, tokens of its own for each block."
        )
    known = {config._attn_implementation for config in _configs(module.backbone)}
    if not known or not known <= set(INNER):
        raise ModelError(
            f"'{family}' computes attention in a way of its own that has no place for a prefix. Methods that "
            "work with it: prompt, adapter, bitfit."
        )
    return module.backbone


def _configs(backbone: nn.Module) -> list[Any]:
    """The configurations by which a backbone's layers find their attention function; [] where they have their own."""
    from transformers.modeling_utils import PreTrainedModel

    models = [child for child in backbone.modules() if isinstance(child, PreTrainedModel)]
    if not all(hasattr(sys.modules[type(child).__module__], "ALL_ATTENTION_FUNCTIONS") for child in models):
        return []
    return list({id(child.config): child.config for child in models}.values())


def _shift(pretrained: Pretrained, settings: PrefixOptions) -> None:
    """Let texts begin where the prefix ends: always where positions are rotations, which only know distances.

    In a table of positions this costs the first ones, with which the model knows how texts begin. Behind a closed gate
    nothing may change, not even by rounding.
    """
    module: Any = pretrained.module
    assert settings.length is not None, "decided by the rewrite"
    if settings.gate:
        return
    if any("Rotary" in type(child).__name__ for child in module.modules()):
        module.first_position = settings.length
    elif settings.shift and table_of_positions(pretrained):
        leave_room(pretrained, settings.length)
        module.first_position = settings.length + pretrained.family.extras["positions"][1]


_SEEN: ContextVar[list[Seen]] = ContextVar("seen")


@torch.no_grad()
def look(backbone: nn.Module, ids: Tensor) -> list[Seen]:
    """The attention layers in the order in which they run, with the keys and values that they make of some tokens."""
    _register()
    seen: list[Seen] = []
    token = _SEEN.set(seen)
    try:
        with _attending_by(backbone, LOOK):
            backbone(input_ids=ids[None])
    finally:
        _SEEN.reset(token)
    return seen


@contextmanager
def _attending_by(backbone: nn.Module, name: str) -> Iterator[None]:
    configs = _configs(backbone)
    before = [config._attn_implementation for config in configs]
    for config in configs:
        config._attn_implementation = name
    try:
        yield
    finally:
        for config, own in zip(configs, before, strict=True):
            config._attn_implementation = own


def _noted(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    _SEEN.get().append(Seen(module, query.shape[1], key[0].clone(), value[0].clone()))
    bias = {} if position_bias is None else {"position_bias": position_bias}
    sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
    found: tuple[Tensor, Any] = sdpa(module, query, key, value, None, scaling=scaling, is_causal=is_causal, **bias)
    return found


def _register() -> None:
    """Make the names known to transformers; masks are made as for the function that goes on."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    attention.register()
    ALL_ATTENTION_FUNCTIONS.register(LOOK, _noted)
    for inner in INNER:
        ALL_ATTENTION_FUNCTIONS.register(MARK + inner, partial(attend, inner))
        ALL_MASK_ATTENTION_FUNCTIONS.register(MARK + inner, ALL_MASK_ATTENTION_FUNCTIONS[inner])


# ------------------------------------------------------------------------------------------------ for other tools


def as_cache(pretrained: Pretrained, settings: PrefixOptions) -> Tensor:
    """The prefixes as the cache of earlier tokens that they are elsewhere.

    Returns
    -------
    Tensor of shape (length, layers · 2 · heads · width)
        Of each layer first the keys, then the values, as `VirtualTokens` holds them.

    Raises
    ------
    ModelError
        If a model that reads them so would compute something else, with the reason.
    """
    why = unfit(pretrained, settings)
    if why:
        raise ModelError(f"peft cannot hold this prefix: {why}")
    return torch.cat([prefix.virtual() for prefix in prefixes_of(pretrained).values()], dim=1)


@torch.no_grad()
def from_cache(pretrained: Pretrained, settings: PrefixOptions, vectors: Tensor) -> None:
    """Let the prefixes begin as such a cache, in place: the inverse of `as_cache`.

    Raises
    ------
    ModelError
        If it is of another width, or would not be read here as it is elsewhere, with the reason.
    """
    why = unfit(pretrained, settings)
    if why:
        raise ModelError(f"A prefix of peft's cannot be continued with '{pretrained.provenance.name}': {why}.")
    places = [prefix.virtual for prefix in prefixes_of(pretrained).values()]
    widths = [place.tokens.shape[1] for place in places]
    if vectors.shape[1] != sum(widths):
        raise ModelError(
            f"The prefix to go on from has vectors of width {vectors.shape[1]} instead of {sum(widths)}, two for each "
            f"of the {len(places)} layers of '{pretrained.provenance.name}'."
        )
    for place, part in zip(places, vectors.split(widths, dim=1), strict=True):
        place.start_as(part)


def prefixes_of(pretrained: Pretrained) -> dict[str, Prefix]:
    """By the name of their attention layer below `backbone`; lowest first, as modules are registered."""
    backbone: Any = pretrained.module.backbone
    named = backbone.named_modules()
    return {name.removesuffix(".prefix"): child for name, child in named if isinstance(child, Prefix)}


def table_of_positions(pretrained: Pretrained) -> bool:
    """Whether the model's positions stand in a table."""
    return "positions" in pretrained.family.extras


def unfit(pretrained: Pretrained, settings: PrefixOptions) -> str:
    """Why peft would compute something else, as far as it is known; "" if it would not.

    What no setting changes is said alone.
    """
    prefixes = list(prefixes_of(pretrained).values())
    backbone: Any = pretrained.module.backbone
    config = backbone.config
    keys, values = prefixes[0]()
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    slides = window is not None and (kinds is None or "sliding_attention" in kinds)
    longest = pretrained.spec["max_length"] + len(prefixes[0].virtual.tokens)
    never = {
        f"there it is a cache of earlier tokens, which '{pretrained.family.name}' does not read": not _takes_cache(
            backbone
        ),
        "its keys and values are of one width": keys.shape != values.shape,
        "it counts in the window within which tokens look at each other": slides and window < longest,
    }
    settable = {
        "it has no gates (method.options.gate: false)": settings.gate,
        "there every block has one (without method.options.blocks)": len(prefixes) < config.num_hidden_layers,
        "there texts begin at a later position (method.options.shift: true)": table_of_positions(pretrained)
        and not settings.shift,
    }
    for reasons in (never, settable):
        if any(reasons.values()):
            return "; ".join(reason for reason, holds in reasons.items() if holds)
    return ""


def _takes_cache(backbone: nn.Module) -> bool:
    import inspect

    return "past_key_values" in inspect.signature(type(backbone).forward).parameters
