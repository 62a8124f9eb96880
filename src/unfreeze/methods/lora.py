"""LoRA: beside frozen layers, updates of low rank learn; they can be folded into the layers afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from unfreeze.errors import RecipeError
from unfreeze.methods._exchange import Exchange, fill, named, read_exchange, write_exchange
from unfreeze.methods._method import Method, MethodContext, Phase, added_and_head
from unfreeze.methods._peft import adapted, exactly, inject, library, merge_layers
from unfreeze.methods._targets import (
    Targets,
    find_targets,
    is_convolution,
    left_out_words,
    linear_or_convolution,
    own_kind,
    words,
)
from unfreeze.progress import counted
from unfreeze.recipe import Count, Positive, Share, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from torch import nn

    from unfreeze.models.pretrained import Pretrained

RANK = 16
"""Where nothing says otherwise. Hu et al. found 4 to 8 enough on GLUE; a few more parameters cost little."""

ADDED = Addition("lora", r"\.lora_")
ADDED_B = Addition("lora B", r"\.lora_B\.")
"""The second factors alone, where they learn at a rate of their own; the rest is then `ADDED`."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How wide the updates are, where they stand and how they begin."""

    rank: Count | None = option(None, "width of an update; none: 16, or that of `adapter`")
    alpha: Positive | None = option(None, "an update is scaled by alpha / rank; none: the rank, or as in `adapter`")
    dropout: Share = option(0.0, "dropout rate on what an update reads")
    targets: list[str] | None = option(
        None,
        "layers by the end of their names, or regular expressions over the whole names; none: all linear layers and "
        "convolutions within the blocks",
    )
    blocks: Count | None = option(None, "only in so many of the topmost blocks; none: in all")
    rslora: bool = option(False, "scale by alpha / square root of the rank, for high ranks (arXiv:2312.03732)")
    dora: bool = option(
        False, "learn the length of each output's weights apart from their direction (arXiv:2402.09353)"
    )
    start: Literal["kaiming", "gaussian", "pissa", "olora"] = option(
        "kaiming",
        "kaiming, gaussian: random, and outputs are exactly the base's; pissa (arXiv:2404.02948), olora "
        "(arXiv:2406.01775): from the weights' own directions, and outputs are the base's up to rounding",
    )
    plus_ratio: Positive = option(
        1.0, "rate of the second factor (B) relative to the first (A); LoRA+ takes 16 (arXiv:2402.12354)"
    )
    adapter: str | None = option(None, "folder of an adapter in peft's layout, or of a run, to go on from")


Own = TypeVar("Own", bound=Settings)
"""These settings, or those of a method that has more."""


def add_low_rank(pretrained: Pretrained, settings: Own) -> Own:
    """Put low-rank updates beside layers, in place; returns the settings with everything decided.

    Outputs are the base's to the bit with random starts, and with informed ones up to rounding: in float32 they differ
    by less than 1e-5 of their scale.

    Raises
    ------
    RecipeError
        If targets mean nothing or layers that cannot be updated, or settings contradict each other.
    ModelError
        If the model has no such layers, or an adapter to go on from is not one for it.
    """
    given = None
    if settings.adapter is not None:
        given = read_exchange(settings.adapter, "LORA", ("lora_A", "lora_B"), pretrained)
        settings = _as_in(given, settings)
    _check(settings)
    decided = replace(settings, rank=settings.rank or RANK, alpha=settings.alpha or float(settings.rank or RANK))
    targets = find_targets(pretrained, decided.targets, decided.blocks, refusal, linear_or_convolution)
    put_beside(pretrained, decided, targets)
    if given is not None:
        for name, layer in adapted(pretrained).items():
            fill(layer, given.tensors[name], given.written[name])
    if decided.plus_ratio != 1:
        pretrained.additions = (ADDED_B, ADDED)
    pretrained.tuned = [*_said(decided, targets, given), *words(targets.layers), *left_out_words(targets)]
    return replace(decided, adapter=None)


def put_beside(pretrained: Pretrained, settings: Settings, targets: Targets) -> None:
    """Put updates beside these layers, with their start and dropout."""
    from unfreeze.models._state import seeded
    from unfreeze.models.low_rank import INFORMED, allow_any_layout, set_dropout, start_informed

    inject(pretrained, configuration(settings, exactly(targets.names), _turned(targets.layers)))
    for number, (name, layer) in enumerate(adapted(pretrained).items()):
        set_dropout(layer, settings.dropout)
        allow_any_layout(layer)
        if settings.start in INFORMED:
            with seeded(number):
                start_informed(name, layer, settings.start)


def configuration(settings: Settings, targets: list[str] | str, turned: bool) -> Any:
    """peft's configuration for these settings; informed starts and dropout are put in afterwards."""
    return library().LoraConfig(
        r=settings.rank,
        lora_alpha=_plain(settings.alpha),
        target_modules=targets,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        init_lora_weights="gaussian" if settings.start == "gaussian" else True,
        fan_in_fan_out=turned,
    )


def refusal(module: nn.Module) -> str | None:
    """Why a layer can have no low-rank update that could be folded into it; None if it can."""
    kind = own_kind(module)
    if kind is not None or not is_convolution(module):
        return kind
    convolution: Any = module
    if convolution.groups > 1:
        return "a grouped convolution, into which no product of two convolutions can be folded"
    if set(convolution.dilation) != {1} or convolution.padding_mode != "zeros":
        return "a convolution with gaps or with padding of its own, which peft's updates do not follow"
    return None


def fold_updates(pretrained: Pretrained, settings: Settings) -> None:
    """Add the updates to the layers' weights, in place, and take them out."""
    merge_layers(pretrained)


def write_updates(pretrained: Pretrained, settings: Settings, folder: Path) -> None:
    """Write the updates in peft's layout; with an informed start as plain ones of twice the rank.

    Raises
    ------
    ModelError
        If the base was changed, so that they would do something else on the original one.
    """
    from unfreeze.models.low_rank import INFORMED, exchanged

    layers = adapted(pretrained)
    if settings.start in INFORMED:
        assert settings.rank is not None, "decided by the rewrite"
        assert settings.alpha is not None, "decided by the rewrite"
        # The factor stays: alpha / rank, or alpha / √rank.
        grown = settings.alpha * (2**0.5 if settings.rslora else 2)
        settings = replace(settings, rank=2 * settings.rank, alpha=grown, start="kaiming")
    config = configuration(settings, named(list(layers), pretrained), _base_turned(layers.values()))
    config.lora_dropout = settings.dropout
    write_exchange(folder, pretrained, config, {name: exchanged(layer) for name, layer in layers.items()})


def phases(context: MethodContext) -> Sequence[Phase]:
    """One phase for the updates and the head; the second factors at a rate of their own where that was asked for."""
    ratio = getattr(context.settings, "plus_ratio", 1.0)
    faster = {name: ratio for name in context.stack.added if name.endswith(f" {ADDED_B.label}")}
    return [replace(phase, scales={**phase.scales, **faster}) for phase in added_and_head(context)]


def _check(settings: Settings) -> None:
    problems = []
    if settings.dora and settings.start not in ("kaiming", "gaussian"):
        problems.append(f"method.options.start '{settings.start}' cannot be combined with dora: take kaiming.")
    if settings.dora and settings.dropout:
        problems.append("method.options.dropout has no effect on dora's updates: leave one of them out.")
    if problems:
        raise RecipeError(problems)


def _as_in(given: Exchange, settings: Own) -> Own:
    """The settings with what an adapter brings along; what is said beside it has to be the same."""
    config = given.config
    ranks = {parts["lora_A"].shape[0] for parts in given.tensors.values()}
    brought: dict[str, Any] = {
        "rank": ranks.pop() if len(ranks) == 1 else None,
        "alpha": float(config["lora_alpha"]),
        "rslora": bool(config.get("use_rslora")),
        "dora": bool(config.get("use_dora")),
        "targets": [f"backbone.{name}" for name in given.tensors],
    }
    problems = []
    if brought["rank"] is None:
        problems.append(f"{given.folder}: its updates have several ranks, which cannot be continued here.")
    begun = config.get("init_lora_weights", True)
    if begun not in (True, False, None, "gaussian", "orthogonal", "eva"):
        problems.append(
            f"{given.folder}: it began with '{begun}', which changes the base's weights. Save it again with peft's "
            "path_initial_model_for_weight_conversion."
        )
    if settings.start != "kaiming":
        problems.append("method.options.start: an adapter to go on from has begun already: leave one of them out.")
    for key, value in brought.items():
        asked = getattr(settings, key)
        if asked not in (None, False, value) and value is not None:
            problems.append(f"method.options.{key} says {asked}, and the adapter in {given.folder} has {value}.")
    if problems:
        raise RecipeError(problems)
    return replace(settings, **brought)


def _said(settings: Settings, targets: Targets, given: Exchange | None) -> list[str]:
    kinds = [name for name in ("rslora", "dora") if getattr(settings, name)]
    how = f" ({', '.join(kinds)})" if kinds else ""
    beside = counted(len(targets.layers), "layer")
    line = f"updates of rank {settings.rank}{how}, alpha {settings.alpha:g}, beside {beside}:"
    return [line] if given is None else [*given.words, line]


def _turned(layers: Sequence[Any]) -> bool:
    return all(type(layer.module).__name__ == "Conv1D" for layer in layers)


def _base_turned(layers: Any) -> bool:
    """Whether the original layers keep their weights the other way round, as peft has to know."""
    bases = [layer.get_base_layer() for layer in layers]
    return all(type(base).__name__ == "Conv1D" or getattr(base, "transposed", False) is True for base in bases)


def _plain(alpha: float | None) -> float | int | None:
    return int(alpha) if alpha is not None and alpha == int(alpha) else alpha


METHOD = Method(
    card=Card(
        what="Beside each linear layer and convolution of the blocks an update of low rank learns, and the new head; "
        "the pre-trained weights stay as they are.",
        when="Models too large to fine-tune whole, many tasks over one base, or a small file for each task: the first "
        "choice among methods that learn few parameters.",
        cost="Little memory for the optimizer, activations as in full fine-tuning. On a CPU a training pass of "
        "all-MiniLM-L6-v2 takes 0.8 of full fine-tuning's time. With dora it takes 1.05, and predictions 1.3 times the "
        "base's, 4.6 times for a single short text. `unfreeze merge` folds the updates into the layers, and "
        "predictions cost what the base's do.",
        evidence="In the source equal to full fine-tuning on GLUE with under 1 % of the parameters; behind it where "
        "much has to be learned, while it forgets less (Biderman et al. 2024, arXiv:2405.09673). Grouped convolutions "
        "are left as they are.",
        source="Hu et al. 2021, arXiv:2106.09685",
    ),
    phases=phases,
    rewrite=add_low_rank,
    options=Settings,
    argument="rank",
    optional=True,
    additions=(ADDED,),
    rate=10.0,
    rate_reason="updates start from nothing: Biderman et al. 2024, arXiv:2405.09673, found LoRA's best rates an order "
    "of magnitude above full fine-tuning's",
    merge=fold_updates,
    interchange=write_updates,
)
