"""Text models: a transformers backbone without its own pooler, pooling over tokens, a new head."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from unfreeze import _torchvision  # noqa: F401  (before transformers)
from unfreeze.errors import ModelError
from unfreeze.models._state import no_fit, seeded
from unfreeze.models.families import family_of_config
from unfreeze.models.head import Head, initialise
from unfreeze.models.pretrained import Family

POOLINGS = ("mean", "first", "last")


def pool(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    """One vector per row from token features.

    Parameters
    ----------
    tokens : Tensor of shape (rows, tokens, width)
    mask : Tensor of shape (rows, tokens)
        1 for a real token, 0 for padding, which stands on the right.
    how : "mean", "first" or "last"
        Over all real tokens, or the first or last of them.
    """
    if how == "first":
        return tokens[:, 0]
    if how == "last":
        last = mask.sum(dim=1) - 1
        return tokens[torch.arange(len(tokens), device=tokens.device), last]
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


class Pooling(nn.Module):
    """`pool` as a module of its own, which replay passes by together with the layers below it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Token features of shape (rows, tokens, width) to one vector per row: (rows, width)."""
        return pool(tokens, mask, self.how)


class TextModel(nn.Module):
    """A backbone over tokens, pooling, and the head. Parameters are named `backbone.*` and `head.*`."""

    def __init__(self, backbone: nn.Module, pooling: str, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = Pooling(pooling)
        self.head = head
        # For prefix and prompt tuning: the position at which texts begin, and how many virtual tokens stand before.
        self.first_position = 0
        self.virtual_tokens = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Token ids of shape (rows, tokens), padded on the right, to outputs of shape (rows, outputs)."""
        read = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            read["token_type_ids"] = token_type_ids
        if self.first_position:
            last = self.first_position + input_ids.shape[1]
            read["position_ids"] = torch.arange(self.first_position, last, device=input_ids.device)[None]
        if self.virtual_tokens:
            read = self._behind_prompt(**read)
        tokens = self.backbone(**read).last_hidden_state
        if self.virtual_tokens:
            # What comes of the virtual tokens themselves is nobody's feature.
            tokens = tokens[:, self.virtual_tokens :]
        features: Tensor = self.head(self.pooling(tokens, attention_mask))
        return features

    def _behind_prompt(self, input_ids: Tensor, attention_mask: Tensor, **read: Tensor) -> dict[str, Tensor]:
        """The same input behind the learned rows of the embedding table, which are seen, and of the first type."""
        embeddings: Any = self.backbone.get_input_embeddings()  # type: ignore[operator]
        prompt = embeddings.prompt().expand(len(input_ids), -1, -1)
        tokens = embeddings(input_ids)
        longer = {"attention_mask": nn.functional.pad(attention_mask, (self.virtual_tokens, 0), value=1)}
        if "token_type_ids" in read:
            longer["token_type_ids"] = nn.functional.pad(read["token_type_ids"], (self.virtual_tokens, 0))
        return {"inputs_embeds": torch.cat([prompt.to(tokens.dtype), tokens], dim=1), **longer}


def backbone_class(family: Family, config: Any) -> Any:
    """The transformers class of the bare encoder or decoder."""
    import transformers

    named = family.extras.get("classes", {}).get(config.model_type)
    if named:
        return getattr(transformers, named)
    found = transformers.MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, (tuple, list)) else found


def pooler_off(cls: Any) -> dict[str, bool]:
    """The argument that leaves out the pooler, where a class has one."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def config_of(spec: dict[str, Any]) -> Any:
    """The transformers configuration that a spec holds."""
    from transformers import AutoConfig

    values = {key: value for key, value in spec["config"].items() if key not in ("model_type", "transformers_version")}
    return AutoConfig.for_model(spec["config"]["model_type"], **values)


def build(spec: dict[str, Any], seed: int, *, empty: bool = False) -> TextModel:
    """The architecture of a spec with new weights that follow from the seed.

    Parameters
    ----------
    empty : bool
        All weights but the head's hold whatever memory held, to be filled: drawing them takes longer than reading them.
    """
    config = config_of(spec)
    if hasattr(config, "use_cache"):
        # Keys and values of every block, kept for a next token that nobody asks for.
        config.use_cache = False
    cls = backbone_class(family_of_config(config.model_type), config)
    with seeded(seed), undrawn() if empty else nullcontext():
        backbone = cls._from_config(config, dtype=torch.float32, **pooler_off(cls))
    if empty:
        backbone.tie_weights()
    with seeded(seed):
        head = Head(config.hidden_size, spec["outputs"], spec["head_dropout"])
    initialise(head, seed)
    return TextModel(backbone, spec["pooling"], head).eval()


def undrawn() -> AbstractContextManager[None]:
    """While it lasts, transformers draws no weights."""
    here = "initialization" if find_spec("transformers.initialization") else "modeling_utils"  # before version 5
    found: AbstractContextManager[None] = import_module(f"transformers.{here}").no_init_weights()
    return found


def layers(config: Any) -> int:
    """How many blocks a configuration has."""
    return int(config.num_hidden_layers)


def shorten(config: Any, drop_top: int) -> None:
    """Remove the top blocks from a configuration, in place.

    Raises
    ------
    ModelError
        If fewer than one block would remain.
    """
    depth = layers(config)
    if drop_top >= depth:
        raise ModelError(f"model.drop_top must be less than the model's {depth} blocks. Got {drop_top} instead.")
    config.num_hidden_layers = depth - drop_top
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers"):
        if isinstance(getattr(config, name, None), list):
            setattr(config, name, getattr(config, name)[: depth - drop_top])


def set_dropout(config: Any, rate: float) -> None:
    """Every dropout rate of a configuration, in place."""
    for name, value in config.to_dict().items():
        if "drop" in name and "layerdrop" not in name and type(value) in (int, float):
            setattr(config, name, rate)


def head_dropout(config: Any) -> float:
    """The rate that the model's own classifier would use, else that of its blocks."""
    for name in (
        "classifier_dropout",
        "seq_classif_dropout",
        "summary_last_dropout",
        "hidden_dropout_prob",
        "dropout_rate",
    ):
        value = getattr(config, name, None)
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0


def position_limit(family: Family, config: Any) -> int | None:
    """How many tokens the model's table of positions holds; None when positions are relative."""
    if "positions" not in family.extras or not getattr(config, "position_biased_input", True):
        return None
    return int(config.max_position_embeddings) - int(family.extras["positions"][1])


def stretch(family: Family, name: str, weight: Tensor, place: Tensor) -> Tensor | None:
    """A longer table of positions, by linear interpolation between its entries; None for any other weight."""
    path, offset = family.extras.get("positions", ("", 0))
    if not path or name != f"backbone.{path}.weight" or len(place) < len(weight):
        return no_fit(name, weight, place)
    table = weight[offset:].T.unsqueeze(0)
    longer = nn.functional.interpolate(table, size=len(place) - offset, mode="linear", align_corners=True)
    return torch.cat([weight[:offset], longer.squeeze(0).T])
