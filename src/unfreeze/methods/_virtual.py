"""What prefix and prompt tuning have in common: checks of their settings, the end of training, peft's layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods._exchange import CONFIG, WEIGHTS, base_name, check_base, goes_on, read_config

if TYPE_CHECKING:
    from torch import Tensor

    from unfreeze.models.pretrained import Pretrained

LENGTH = 20
"""Of prompts and prefixes where nothing says otherwise."""

KEY = "prompt_embeddings"
"""What peft calls the vectors in its file, whichever network they were trained through."""

Own = TypeVar("Own")
"""Settings of prefix or prompt tuning."""


def check_start(start: str | None, text: str | None) -> None:
    """Refuse a text that would not be used, and a start that lacks it.

    Raises
    ------
    RecipeError
    """
    if start == "text" and text is None:
        raise RecipeError("method.options.text must be given where method.options.start is 'text'.")
    if text is not None and start not in (None, "text"):
        raise RecipeError(f"method.options.text is only read with method.options.start 'text'. Got '{start}' instead.")


def folded(pretrained: Pretrained, settings: Any) -> Any:
    """Replace the networks that only training needs by their results, in place.

    Returns
    -------
    The settings that describe what is left
    """
    from unfreeze.models.virtual import fold

    fold(pretrained.module)
    return replace(settings, reparameterise=False)


@dataclass(frozen=True)
class Given:
    """An adapter of virtual tokens, as it was read.

    Parameters
    ----------
    config : mapping
        What `adapter_config.json` says.
    vectors : Tensor of shape (length, width)
        A prefix holds each layer's keys, then its values, side by side.
    """

    folder: Path
    config: Mapping[str, Any]
    vectors: Tensor

    def check(self, **expected: int) -> None:
        """Compare sizes that the configuration names, as `token_dim`, with those of a model.

        Raises
        ------
        ModelError
            If one differs.
        """
        wrong = [
            f"{key} {value}, found {self.config.get(key)}"
            for key, value in expected.items()
            if self.config.get(key) != value
        ]
        if wrong:
            raise ModelError(f"{self.folder / CONFIG}: an adapter for another model, expected {'; '.join(wrong)}.")


def read_vectors(folder: str, *kinds: str) -> Given:
    """Learned vectors, from a folder in peft's layout or a run that holds one.

    What peft trained through a network (`prefix_projection`, P-tuning) lies in its file as the network's result.

    Parameters
    ----------
    kinds : str
        What peft calls them: "PREFIX_TUNING".

    Raises
    ------
    ModelError
        If there are none, they are of another kind, or are not what the configuration says.
    """
    from unfreeze.models.sources import read_safetensors

    place, config = read_config(folder, *kinds)
    parts = config.get("num_transformer_submodules") or 1
    if parts != 1:
        raise ModelError(
            f"{place / CONFIG}: expected num_transformer_submodules 1, found {parts}: vectors for an encoder and its "
            "decoder cannot be continued here."
        )
    vectors = read_safetensors(place / WEIGHTS).get(KEY)
    if vectors is None:
        raise ModelError(f"{place / WEIGHTS}: expected the vectors under the name '{KEY}', found none.")
    length = config.get("num_virtual_tokens")
    if vectors.dim() != 2 or len(vectors) != length:
        raise ModelError(
            f"{place / WEIGHTS}: expected num_virtual_tokens = {length} vectors, found the shape "
            f"{tuple(vectors.shape)}."
        )
    return Given(place, config, vectors)


def as_in(given: Given, settings: Own, **brought: Any) -> Own:
    """The settings with what an adapter brings along; what is said beside it has to be the same.

    Raises
    ------
    RecipeError
        If it is not, or the settings say how to begin.
    """
    brought = {"length": len(given.vectors), **brought}
    problems = [
        f"method.options.{key}: an adapter to go on from has begun already: leave one of them out."
        for key in ("start", "text")
        if getattr(settings, key) is not None
    ]
    for key, value in brought.items():
        asked = getattr(settings, key)
        # Settings that are off by default cannot be told from those that were left out.
        if asked is not None and asked != value and not (asked is False and value is True):
            problems.append(f"method.options.{key} says {asked}, and the adapter in {given.folder} has {value}.")
    if problems:
        raise RecipeError(problems)
    return replace(settings, **brought)  # type: ignore[type-var]


def went_on(given: Given | None) -> list[str]:
    """Lines for the plan."""
    return [] if given is None else [goes_on(given.folder, given.config)]


def write_vectors(pretrained: Pretrained, folder: Path, config: Any, vectors: Tensor) -> None:
    """Write learned vectors as peft does, for the bare backbone: `PeftModel.from_pretrained(AutoModel…, folder)`.

    Parameters
    ----------
    config : peft's configuration, whose length and base are filled in here
    vectors : Tensor of shape (length, width)

    Raises
    ------
    ModelError
        If the model is not that of its name any more.
    """
    from safetensors.torch import save_file

    check_base(pretrained)
    config.num_virtual_tokens = vectors.shape[0]
    config.base_model_name_or_path = base_name(pretrained)
    config.revision = pretrained.provenance.revision if pretrained.provenance.source == "hub" else None
    config.inference_mode = True
    config.task_type = "FEATURE_EXTRACTION"
    config.num_transformer_submodules = 1
    folder.mkdir(parents=True, exist_ok=True)
    save_file({KEY: vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS)
    config.save_pretrained(str(folder))
