"""What prefix and prompt tuning have in common: checks of their settings, the end of training, peft's layout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods._exchange import WEIGHTS, base_name

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from unfreeze.models.pretrained import Pretrained


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

    if pretrained.asked is not None and pretrained.asked.drop_top:
        raise ModelError("there is no prompt in peft's layout, since the base was changed (model.drop_top)")
    config.num_virtual_tokens = vectors.shape[0]
    config.base_model_name_or_path = base_name(pretrained)
    config.revision = pretrained.provenance.revision if pretrained.provenance.source == "hub" else None
    config.inference_mode = True
    config.task_type = "FEATURE_EXTRACTION"
    config.num_transformer_submodules = 1
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"prompt_embeddings": vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS)
    config.save_pretrained(str(folder))
