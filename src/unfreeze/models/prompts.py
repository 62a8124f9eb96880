"""Learned tokens that a model reads with its input: in front of a text, or among the patches of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.models.text import TextModel
from unfreeze.models.virtual import VirtualTokens, leave_room, normal, size_of, starting_ids

if TYPE_CHECKING:
    from unfreeze.methods.prompt import PromptOptions
    from unfreeze.models.pretrained import Pretrained


def add_prompt(pretrained: Pretrained, settings: PromptOptions) -> None:
    """Let a model read learned tokens, in place.

    Raises
    ------
    ModelError
        If it has no tokens, or a setting is for another kind of model.
    """
    if isinstance(pretrained.module, TextModel):
        _add_to_text(pretrained, pretrained.module, settings)
    else:
        _add_to_image(pretrained, settings)


def prompted(pretrained: Pretrained) -> list[str]:
    """The layers below `backbone` at which learned tokens enter."""
    backbone: Any = pretrained.module.backbone
    named = backbone.named_modules()
    return [name.removesuffix(".prompt") for name, child in named if isinstance(child, VirtualTokens)]


# ------------------------------------------------------------------------------------------------ texts


@torch.no_grad()
def _add_to_text(pretrained: Pretrained, module: TextModel, settings: PromptOptions) -> None:
    """Further rows of the embedding table, which `TextModel` reads first."""
    if settings.deep or settings.blocks is not None:
        option = "deep" if settings.deep else "blocks"
        raise ModelError(
            f"method.options.{option} is for images. For texts 'prefix' does the same: keys and values of its own for "
            "each block."
        )
    assert settings.length is not None, "decided by the rewrite"
    leave_room(pretrained, settings.length)
    embeddings: Any = module.backbone.get_input_embeddings()  # type: ignore[operator]
    tokenizer = pretrained.preprocess.tokenizer  # type: ignore[attr-defined]
    # By calling it: some models scale what they look up.
    start = embeddings(starting_ids(tokenizer, settings.length, settings.text)).float()
    unit = size_of(embeddings(starting_ids(tokenizer, 200, None)))
    if settings.start == "random":
        start = normal(*start.shape) * unit
    embeddings.prompt = VirtualTokens(start, unit, settings.hidden if settings.reparameterise else None)
    module.virtual_tokens = settings.length


# ------------------------------------------------------------------------------------------------ images


class _Prompted:
    """Mixed into the class of a transformer's block: learned tokens may join its input, and leave its output.

    They stand behind the class token, as in Jia et al. 2022. A class and not a hook: what replaces or repeats a block's
    forward (replay, gradient checkpointing) then does so with the tokens.
    """

    prompt: VirtualTokens | None
    prompt_place: int
    prompt_leaving: int

    def forward(self, tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Tokens of shape (rows, tokens, width) to tokens of the same width."""
        place, leaving = self.prompt_place, self.prompt_leaving
        if self.prompt is not None:
            own = self.prompt().to(tokens.dtype).expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :place], own, tokens[:, place:]], dim=1)
        tokens = super().forward(tokens, *args, **kwargs)  # type: ignore[misc]
        return torch.cat([tokens[:, :place], tokens[:, place + leaving :]], dim=1) if leaving else tokens


def _prompted(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Prompted{kind.__name__}", (_Prompted, kind), {"__module__": kind.__module__})


def _add_to_image(pretrained: Pretrained, settings: PromptOptions) -> None:
    backbone: Any = pretrained.module.backbone
    name, family = pretrained.provenance.name, pretrained.family.name
    if family != "vit":
        raise ModelError(
            f"'prompt' puts tokens among the patches of a vision transformer, and '{family}' has none. Methods that "
            "work with it: adapter, bitfit, last, full."
        )
    if settings.start != "random":
        raise ModelError(f"method.options.start: '{settings.start}' is for texts. Images begin with 'random' tokens.")
    assert settings.length is not None, "decided by the rewrite"
    deep = bool(settings.deep)
    # Blocks that were dropped are identities by now.
    blocks = [block for block in backbone.blocks if any(True for _ in block.parameters())]
    count = _count(settings, deep, len(blocks), name)
    units = [size_of(tokens) for tokens in _inputs(pretrained, blocks)]
    hidden = settings.hidden if settings.reparameterise else None
    width = backbone.embed_dim
    starts = normal(count, settings.length, width)
    kinds = {kind: _prompted(kind) for kind in {type(block) for block in blocks}}
    for block in blocks:
        block.prompt, block.prompt_place, block.prompt_leaving = None, backbone.num_prefix_tokens, 0
        block.__class__ = kinds[type(block)]
    entered = blocks[-count:] if deep else blocks[:1]
    for start, block, unit in zip(starts, entered, units[-count:] if deep else units[:1], strict=True):
        block.prompt = VirtualTokens(start * unit, unit, hidden)
    for block in entered if deep else blocks[-1:]:
        block.prompt_leaving = settings.length


def _count(settings: PromptOptions, deep: bool, blocks: int, name: str) -> int:
    """How many blocks get tokens of their own."""
    if not deep:
        if settings.blocks is not None:
            raise ModelError("method.options.blocks needs method.options.deep: else tokens enter at the first block.")
        return 1
    if settings.blocks is not None and settings.blocks > blocks:
        raise ModelError(
            f"method.options.blocks must be at most the {blocks} blocks of '{name}'. Got {settings.blocks} instead."
        )
    return settings.blocks or blocks


@torch.no_grad()
def _inputs(pretrained: Pretrained, blocks: list[nn.Module]) -> list[Tensor]:
    """The tokens that enter each block, for one image of noise."""
    spec = pretrained.spec
    seen: list[Tensor] = []
    with _caught(blocks, seen):
        pretrained.module(pixel_values=normal(1, spec["channels"], spec["image_size"], spec["image_size"]))
    return seen


@contextmanager
def _caught(blocks: list[nn.Module], into: list[Tensor]) -> Iterator[None]:
    hooks = [block.register_forward_pre_hook(lambda _, args: into.append(args[0].clone())) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
