"""Prefix tuning: learned keys and values that each attention layer finds in front of those of the text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.errors import RecipeError
from unfreeze.methods._exchange import changes_of_base
from unfreeze.methods._method import Method, added_and_head
from unfreeze.methods._peft import backbone_of, library
from unfreeze.methods._targets import Layer, words
from unfreeze.methods._virtual import LENGTH, as_in, check_start, folded, read_vectors, went_on, write_vectors
from unfreeze.progress import counted
from unfreeze.recipe import Count, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from pathlib import Path

    from unfreeze.models.pretrained import Pretrained


@dataclass(frozen=True, kw_only=True)
class PrefixOptions:
    """How long the prefix is, where it stands, what it begins as and how it is trained."""

    length: Count | None = option(None, "keys and values in front of each layer's own; none: 20, or those of `adapter`")
    blocks: Count | None = option(None, "only in so many of the topmost blocks; none: in all")
    start: Literal["vocabulary", "text", "random"] | None = option(
        None, "what layers make of common words or of `text`, or random; none: text if given, else vocabulary"
    )
    text: str | None = option(None, "words that the prefix begins as, repeated or cut to its length")
    gate: bool | None = option(
        None,
        "attention to the prefix enters through a gate for each head, closed at first: nothing changes then; peft has "
        "no gates, so that a run with them holds no folder for it; none: yes, without `adapter`",
    )
    reparameterise: bool = option(False, "train the prefix through a small network, which is dropped in the end")
    hidden: Count = option(128, "width of that network")
    shift: bool = option(
        False, "texts begin at position `length`, as other tools have it; matters where positions stand in a table"
    )
    adapter: str | None = option(None, "folder of an adapter in peft's layout, or of a run, to go on from")

    def __post_init__(self) -> None:
        check_start(self.start, self.text)


def rewrite(pretrained: Pretrained, settings: PrefixOptions) -> PrefixOptions:
    """Give the attention layers their prefixes, in place; returns the settings with everything decided.

    Raises
    ------
    RecipeError
        If settings contradict an adapter to go on from.
    ModelError
        If the model's attention has no place for a prefix, or an adapter to go on from is not one for it.
    """
    from unfreeze.models.prefixes import add_prefix, from_cache, table_of_positions

    given = None
    if settings.adapter is not None:
        if settings.blocks is not None:
            raise RecipeError("method.options.blocks: an adapter of peft's has a prefix in every block.")
        given = read_vectors(settings.adapter, "PREFIX_TUNING")
        settings = as_in(given, settings, gate=False, shift=settings.shift or table_of_positions(pretrained))
    decided = replace(
        settings,
        length=settings.length or LENGTH,
        gate=True if settings.gate is None else settings.gate,
        start=settings.start or (None if given is not None else "vocabulary" if settings.text is None else "text"),
        adapter=None,
    )
    add_prefix(pretrained, decided)
    if given is not None:
        from_cache(pretrained, decided, given.vectors)
        given.check(**_sizes(pretrained))
    pretrained.tuned = [*went_on(given), *_said(pretrained, decided)]
    return decided


def interchange(pretrained: Pretrained, settings: PrefixOptions, folder: Path) -> None:
    """Write the prefixes as peft reads them: a cache of earlier tokens, behind which texts begin at position `length`.

    Token types, which peft leaves out, are those of a single text.

    Raises
    ------
    ModelError
        If peft would predict something else, with the reason.
    """
    from unfreeze.models.prefixes import as_cache

    vectors = as_cache(pretrained, settings)
    sizes = _sizes(pretrained)
    config = library().PrefixTuningConfig(**sizes, encoder_hidden_size=sizes["token_dim"])
    write_vectors(pretrained, folder, config, vectors)


def _sizes(pretrained: Pretrained) -> dict[str, int]:
    """What peft calls them. With grouped heads they are those of the keys."""
    from unfreeze.models.prefixes import prefixes_of

    first, *_ = prefixes_of(pretrained).values()
    backbone: Any = backbone_of(pretrained)
    return {
        "num_layers": backbone.config.num_hidden_layers,
        "token_dim": first.key_width,
        "num_attention_heads": first.heads,
    }


def _said(pretrained: Pretrained, settings: PrefixOptions) -> list[str]:
    from unfreeze.models.prefixes import prefixes_of, unfit

    backbone = backbone_of(pretrained)
    layers = [Layer(name, backbone.get_submodule(name), "") for name in prefixes_of(pretrained)]
    gated = ", behind a gate for each head" if settings.gate else ""
    line = f"{settings.length} keys and values in front of those of {counted(len(layers), 'layer')}{gated}:"
    changed = changes_of_base(pretrained)
    why = unfit(pretrained, settings) or (f"the base was changed ({', '.join(changed)})" if changed else "")
    return [line, *words(layers), *([f"a run holds no folder for peft: {why}"] if why else [])]


METHOD = Method(
    card=Card(
        what="Each attention layer finds learned keys and values in front of those of the text; they learn, and the "
        "new head. Nothing can be folded into the model afterwards.",
        when="Many tasks over one text model, each a file of some hundred thousand numbers. Not for images (see "
        "prompt), DeBERTa and XLNet, nor where predictions have to cost what the plain model's do (see lora). "
        "For peft to read a run's prefix, set `gate: false`, and `shift: true` where positions stand in a "
        "table; `unfreeze plan` says so.",
        cost="Memory of activations as in full fine-tuning, and of the optimizer next to none. With `blocks` only the "
        "upper part is computed more than once per sample. Predictions look at as many more keys as it is long.",
        evidence="In the first source as good as full fine-tuning of GPT-2 on texts from tables with 0.1 % of the "
        "parameters; in the second on classification too, if every layer has a prefix. Both share one softmax between "
        "prefix and text (`gate: false`); the gate is the third's. On 765 rows of banking77 with a small sentence "
        "encoder (two seeds, best epoch on 455 validation rows): 82.7 % with the gate, 80.8 without, full fine-tuning "
        "83.6, the head alone 81.2, each uncertain by about 1.5. Rate and gate were chosen on these rows, which "
        "flatters them.",
        source="Li and Liang 2021, arXiv:2101.00190; Liu et al. 2022, P-tuning v2, arXiv:2110.07602; Zhang et al. "
        "2023, LLaMA-Adapter, arXiv:2303.16199",
    ),
    phases=added_and_head,
    rewrite=rewrite,
    options=PrefixOptions,
    additions=(Addition("prefix", r"\.prefix\."),),
    own_rate=3e-2,
    rate_reason="a prefix is held in the unit of real keys and values, alike for all models",
    fold=folded,
    interchange=interchange,
    argument="length",
    optional=True,
)
