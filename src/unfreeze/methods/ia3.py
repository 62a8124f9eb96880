"""IA3: learned scales on keys, values and what feed-forward layers read; on channels of convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.errors import RecipeError, nearest
from unfreeze.methods._exchange import Exchange, fill, named, read_exchange, write_exchange
from unfreeze.methods._method import Method, added_and_head
from unfreeze.methods._peft import adapted, exactly, inject, library, merge_layers
from unfreeze.methods._targets import (
    Layer,
    Targets,
    ends,
    find_targets,
    is_convolution,
    is_linear,
    left_out_words,
    means,
    own_kind,
    words,
)
from unfreeze.recipe import Count, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from torch import nn

    from unfreeze.models.pretrained import Pretrained

KEYS_AND_VALUES = (
    *("key", "value", "k", "v", "k_proj", "v_proj", "key_proj", "value_proj", "k_lin", "v_lin"),
    *("qkv", "Wqkv", "c_attn", "in_proj", "query_key_value"),  # in one layer with the queries, which are scaled too
)
FEED_FORWARD = ("wo", "down_proj", "fc2", "lin2", "ff.layer_2", "mlp.c_proj", "mlp.Wo", "output.dense")
"""What libraries call the layer that comes second in a feed-forward part, and reads what is scaled."""

NOT_FEED_FORWARD = ("attention.output.dense",)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which layers are scaled."""

    targets: list[str] | None = option(
        None,
        "layers by the end of their names, or regular expressions over the whole names; none: keys, values, the second "
        "feed-forward layer, and convolutions",
    )
    feedforward: list[str] | None = option(
        None, "which of them scale what they read, not what they make; none: the second feed-forward layer"
    )
    blocks: Count | None = option(None, "only in so many of the topmost blocks; none: in all")
    adapter: str | None = option(None, "folder of an adapter in peft's layout, or of a run, to go on from")


def add_scales(pretrained: Pretrained, settings: Settings) -> Settings:
    """Put scales of 1 on layers, in place: outputs are the base's to the bit. Returns the settings as decided.

    Raises
    ------
    RecipeError
        If targets mean nothing or layers that cannot be scaled, or settings contradict each other.
    ModelError
        If the model has no such layers, or an adapter to go on from is not one for it.
    """
    given = None
    if settings.adapter is not None:
        given = read_exchange(settings.adapter, "IA3", ("ia3_l",), pretrained)
        settings = _as_in(given, settings)
    targets = find_targets(pretrained, settings.targets, settings.blocks, refusal, by_default)
    check_feedforward(settings.feedforward or (), targets)
    reading = [layer.name for layer in targets.layers if reads_scaled(layer, settings)]
    inject(pretrained, configuration(exactly(targets.names), exactly(reading) if reading else []))
    if given is not None:
        for name, layer in adapted(pretrained).items():
            fill(layer, given.tensors[name], given.written[name])
    pretrained.tuned = _said(targets, reading, given)
    return replace(settings, adapter=None)


def check_feedforward(patterns: Sequence[str], targets: Targets) -> None:
    """Refuse a pattern that names no layer that is scaled.

    Raises
    ------
    RecipeError
    """
    problems = [
        f"method.options.feedforward: '{pattern}' is none of the layers that are scaled (method.options.targets). "
        f"{nearest(pattern, ends(targets.layers))}"
        for pattern in patterns
        if not any(means(pattern, layer.name) for layer in targets.layers)
    ]
    if problems:
        raise RecipeError(problems)


def configuration(targets: list[str] | str, reading: list[str] | str) -> Any:
    """peft's configuration."""
    return library().IA3Config(target_modules=targets, feedforward_modules=reading)


def by_default(layer: Layer) -> bool:
    """Keys, values, second feed-forward layers, and convolutions."""
    if is_convolution(layer.module):
        return True
    return is_linear(layer.module) and (_called(layer.name, KEYS_AND_VALUES) or _second(layer))


def reads_scaled(layer: Layer, settings: Settings) -> bool:
    """Whether a layer's scales are on what it reads."""
    if settings.feedforward is None:
        return _second(layer)
    return any(means(pattern, layer.name) for pattern in settings.feedforward)


def refusal(module: nn.Module) -> str | None:
    """Why a layer cannot be scaled; None if it can."""
    from torch import nn

    return "a convolution over texts" if isinstance(module, nn.Conv1d) else own_kind(module)


def fold_scales(pretrained: Pretrained, settings: Settings) -> None:
    """Multiply the layers' weights by the scales, in place, and take these out."""
    merge_layers(pretrained)


def write_scales(pretrained: Pretrained, settings: Settings, folder: Path) -> None:
    """Write the scales in peft's layout.

    Raises
    ------
    ModelError
        If the base was changed, so that they would do something else on the original one.
    """
    from unfreeze.models.low_rank import ADAPTER

    layers = adapted(pretrained)
    reading = [name for name, layer in layers.items() if layer.is_feedforward]
    targets, scaled = named(list(layers), pretrained), named(reading, pretrained) if reading else []
    if isinstance(targets, str) or isinstance(scaled, str):  # both in the same way
        targets, scaled = exactly(list(layers)), exactly(reading) if reading else []
    config = configuration(targets, scaled)
    config.fan_in_fan_out = all(layer.fan_in_fan_out for layer in layers.values())
    write_exchange(
        folder, pretrained, config, {name: {"ia3_l": layer.ia3_l[ADAPTER]} for name, layer in layers.items()}
    )


def _second(layer: Layer) -> bool:
    return is_linear(layer.module) and _called(layer.name, FEED_FORWARD) and not _called(layer.name, NOT_FEED_FORWARD)


def _called(name: str, ends: tuple[str, ...]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _as_in(given: Exchange, settings: Settings) -> Settings:
    """The settings with an adapter's layers; what is said beside it has to be the same."""
    names = list(given.tensors)
    reading = [name for name in names if _reads(given.config, given.written[name])]
    brought: dict[str, Any] = {
        key: [f"backbone.{name}" for name in each] for key, each in (("targets", names), ("feedforward", reading))
    }
    problems = [
        f"method.options.{key} says {', '.join(getattr(settings, key))}, and the adapter in {given.folder} has its own."
        for key, value in brought.items()
        if getattr(settings, key) not in (None, value)
    ]
    if problems:
        raise RecipeError(problems)
    return replace(settings, **brought)


def _reads(config: Mapping[str, Any], name: str) -> bool:
    """As peft decides it."""
    import re

    said = config.get("feedforward_modules") or []
    return bool(re.fullmatch(said, name)) if isinstance(said, str) else any(name.endswith(end) for end in said)


def _said(targets: Targets, reading: list[str], given: Exchange | None) -> list[str]:
    before = [] if given is None else given.words
    making = [layer for layer in targets.layers if layer.name not in reading]
    rest = [layer for layer in targets.layers if layer.name in reading]
    return [
        *before,
        *(f"scales on what it makes: {line}" for line in words(making)),
        *(f"scales on what it reads: {line}" for line in words(rest)),
        *left_out_words(targets),
    ]


METHOD = Method(
    card=Card(
        what="Scales on keys, values and what the second feed-forward layer reads learn, or on the channels of "
        "convolutions, and the new head.",
        when="Very few rows, very many tasks: the smallest files of all methods that act in every block.",
        cost="Memory of activations as in full fine-tuning, none to speak of for the optimizer. `unfreeze merge` folds "
        "the scales into the layers.",
        evidence="In the source better than LoRA with some twenty examples of a task on T0, a language model of 3 "
        "billion parameters; little is known for small models and for convolutions, on which it was not tried.",
        source="Liu et al. 2022, arXiv:2205.05638",
    ),
    phases=added_and_head,
    rewrite=add_scales,
    options=Settings,
    additions=(Addition("ia3", r"\.ia3_l\."),),
    own_rate=1e-2,
    rate_reason="scales start at one in every network; the best of 1.5e-3 to 9e-2 on the validation rows of three text "
    "sets and one image set (docs/results.md). Liu et al. 2022 took 3e-3 for T0",
    merge=fold_scales,
    interchange=write_scales,
)
