"""Prompt tuning: learned tokens that the model reads with its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.errors import ModelError
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
class PromptOptions:
    """How many tokens there are, where they enter, what they begin as and how they are trained."""

    length: Count | None = option(None, "learned tokens; none: 20, or as many as `adapter` has")
    start: Literal["vocabulary", "text", "random"] | None = option(
        None, "common words, the words of `text`, or random; none: text if given, else vocabulary; random for images"
    )
    text: str | None = option(None, "words that the tokens begin as, repeated or cut to their number")
    deep: bool | None = option(None, "images: new tokens in each block, and not at the first only; none: yes")
    blocks: Count | None = option(None, "images: tokens in so many of the topmost blocks; none: in all")
    reparameterise: bool = option(False, "train the tokens through a small network, which is dropped in the end")
    hidden: Count = option(128, "width of that network")
    adapter: str | None = option(None, "folder of an adapter in peft's layout, or of a run, to go on from; texts")

    def __post_init__(self) -> None:
        check_start(self.start, self.text)


def rewrite(pretrained: Pretrained, settings: PromptOptions) -> PromptOptions:
    """Let the model read learned tokens, in place; returns the settings with everything decided.

    Raises
    ------
    RecipeError
        If settings contradict an adapter to go on from.
    ModelError
        If the model has no place for tokens, or an adapter to go on from is not one for it.
    """
    from unfreeze.models.prompts import add_prompt

    image = pretrained.family.modality == "image"
    given = None
    if settings.adapter is not None:
        if image:
            raise ModelError("method.options.adapter: peft has no layout for the prompts of images")
        given = read_vectors(settings.adapter, "PROMPT_TUNING", "P_TUNING")
        settings = as_in(given, settings)
    common: Literal["random", "vocabulary"] = "random" if image else "vocabulary"
    decided = replace(
        settings,
        length=settings.length or LENGTH,
        start=settings.start or (None if given is not None else common if settings.text is None else "text"),
        deep=image if settings.deep is None else settings.deep,
        adapter=None,
    )
    add_prompt(pretrained, decided)
    if given is not None:
        backbone: Any = backbone_of(pretrained)
        tokens = backbone.get_input_embeddings().prompt
        given.check(num_layers=backbone.config.num_hidden_layers, token_dim=tokens.tokens.shape[1])
        tokens.start_as(given.vectors)
    pretrained.tuned = [*went_on(given), *_said(pretrained, decided)]
    return decided


def _said(pretrained: Pretrained, settings: PromptOptions) -> list[str]:
    from unfreeze.models.prompts import prompted

    backbone = backbone_of(pretrained)
    layers = [Layer(name, backbone.get_submodule(name), "") for name in prompted(pretrained)]
    return [f"{settings.length} learned tokens enter at {counted(len(layers), 'layer')}:", *words(layers)]


def interchange(pretrained: Pretrained, settings: PromptOptions, folder: Path) -> None:
    """Write the tokens as peft reads them; there `last_hidden_state` begins with theirs, which a reader leaves out.

    peft leaves out token types, so that the features of pairs, whose second text has a type of its own, differ.

    Raises
    ------
    ModelError
        If they are an image's.
    """
    if pretrained.family.modality == "image":
        raise ModelError("peft has no layout for the prompts of images")
    backbone: Any = backbone_of(pretrained)
    vectors = backbone.get_input_embeddings().prompt()
    sizes = {"num_layers": backbone.config.num_hidden_layers, "token_dim": vectors.shape[1]}
    config = library().PromptTuningConfig(**sizes, num_attention_heads=backbone.config.num_attention_heads)
    write_vectors(pretrained, folder, config, vectors)


METHOD = Method(
    card=Card(
        what="Learned tokens stand in front of each text, or among the patches of each image; they learn, and the new "
        "head. The head reads the real tokens only. Nothing can be folded into the model afterwards.",
        when="The smallest files of all, over one large model. With small models most other methods are better. Not "
        "for convolutional networks.",
        cost="Memory of activations as in full fine-tuning, and longer inputs. A text's tokens enter at the bottom, so "
        "nothing below them can be kept and replayed; in vision transformers `blocks` lets them enter higher.",
        evidence="In the first source as good as full fine-tuning with models of ten billion parameters, far behind it "
        "with small ones; in the second ahead of it on 20 of 24 sets for vision transformers, if each block has some. "
        "On 765 rows of banking77 with a small sentence encoder seven settings gave 78.5 to 81.3 % (one seed, best "
        "epoch on 455 validation rows): no more than the head alone, 80.9; full fine-tuning 84.0. Images: not tried.",
        source="Lester et al. 2021, arXiv:2104.08691; Jia et al. 2022, Visual Prompt Tuning, arXiv:2203.12119",
    ),
    phases=added_and_head,
    rewrite=rewrite,
    options=PromptOptions,
    additions=(Addition("prompt", r"\.prompt\."),),
    own_rate=1e-1,
    rate_reason="tokens are held in the unit of real ones, alike for all models",
    fold=folded,
    interchange=interchange,
    argument="length",
    optional=True,
)
