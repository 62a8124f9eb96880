"""Adapters in peft's layout: `adapter_config.json` and `adapter_model.safetensors`, read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.errors import ModelError
from unfreeze.methods._peft import backbone_of, exactly

if TYPE_CHECKING:
    from torch import Tensor

    from unfreeze.models.pretrained import Pretrained

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."

_KEY = re.compile(
    r"(?:base_model\.model\.)?(?P<layer>.+)\.(?P<leaf>lora_A|lora_B|lora_magnitude_vector|ia3_l)(?:\.weight)?"
)

_ELSEWHERE = (
    *("alpha_pattern", "lora_bias", "use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("trainable_token_indices", "kasa_config", "velora_config", "use_bdlora", "monteclora_config", "arrow_config"),
)
"""Settings of peft's that are not followed here; an adapter that has any of them on is refused."""


@dataclass(frozen=True)
class Exchange:
    """An adapter as it was read.

    Parameters
    ----------
    config : mapping
        What `adapter_config.json` says.
    tensors : mapping of layer name to mapping of "lora_A", "lora_B", "lora_magnitude_vector" or "ia3_l" to Tensor
        Names are those below `backbone`.
    written : mapping of layer name to str
        What the file calls each layer.
    left_out : sequence of str
        Layers of a pooler above the features, which is not part of models here.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Mapping[str, Tensor]]
    written: Mapping[str, str]
    left_out: Sequence[str] = ()

    @property
    def words(self) -> list[str]:
        """Lines for the plan."""
        lines = [goes_on(self.folder, self.config)]
        if self.left_out:
            lines.append(f"of it is not taken, since there is no such layer here: {', '.join(self.left_out)}")
        return lines


def read_exchange(folder: str | Path, kind: str, leaves: Sequence[str], pretrained: Pretrained) -> Exchange:
    """An adapter for this model, from a folder in peft's layout or a run that holds one.

    Parameters
    ----------
    kind : str
        peft's name for it: "LORA" or "IA3".
    leaves : sequence of str
        The tensors that each of its layers has to have.

    Raises
    ------
    ModelError
        If there is none, or it is of another kind, or was made for another model.
    """
    from unfreeze.models.sources import read_safetensors

    place, config = read_config(folder, kind)
    on = [key for key in _ELSEWHERE if config.get(key)]
    if config.get("bias", "none") != "none":
        on.append("bias")
    if on:
        raise ModelError(f"{place / CONFIG}: {', '.join(on)} of peft cannot be continued here.")
    tensors, written, left_out = _by_layer(read_safetensors(place / WEIGHTS), pretrained, place)
    for name, parts in tensors.items():
        if not set(leaves) <= set(parts):
            raise ModelError(f"{place / WEIGHTS}: '{written[name]}' lacks {', '.join(set(leaves) - set(parts))}.")
    return Exchange(place, config, tensors, written, left_out)


def read_config(folder: str | Path, *kinds: str) -> tuple[Path, dict[str, Any]]:
    """Where an adapter in peft's layout lies, in a folder or in a run that holds one, and what its file says of it.

    Raises
    ------
    ModelError
        If there is none, or it is of another kind, as peft calls it ("LORA").
    """
    from unfreeze.models.sources import read_description

    place = _place(Path(folder).expanduser())
    config = read_description(place / CONFIG)
    found = str(config.get("peft_type"))
    if found not in kinds:
        raise ModelError(f"{place / CONFIG}: expected an adapter of the kind {' or '.join(kinds)}, found {found}.")
    return place, config


def goes_on(folder: Path, config: Mapping[str, Any]) -> str:
    """A line for the plan."""
    base = config.get("base_model_name_or_path") or "an unnamed base"
    return f"goes on from the adapter in {folder}, made on '{base}'"


def _place(folder: Path) -> Path:
    for place in (folder, folder / "peft", folder / "model" / "peft"):
        if (place / CONFIG).is_file():
            return place
    raise ModelError(f"The folder {folder} holds no adapter in peft's layout: {CONFIG} is missing.")


def _by_layer(
    state: Mapping[str, Tensor], pretrained: Pretrained, place: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, str], list[str]]:
    known = {name for name, _ in backbone_of(pretrained).named_modules()}
    tensors: dict[str, dict[str, Tensor]] = {}
    written: dict[str, str] = {}
    unknown: list[str] = []
    # What matches no adapter's name is a head that was trained with it, for another task.
    for match, tensor in ((found, tensor) for key, tensor in state.items() if (found := _KEY.fullmatch(key))):
        layer = _known(match["layer"], known)
        if layer is None:
            unknown.append(match["layer"])
            continue
        written[layer] = match["layer"]
        tensors.setdefault(layer, {})[match["leaf"]] = tensor
    left_out = [name for name in dict.fromkeys(unknown) if "pooler" in name.split(".")]
    foreign = [name for name in dict.fromkeys(unknown) if name not in left_out]
    if foreign or not tensors:
        shown = ", ".join(foreign[:4]) or "it is empty"
        raise ModelError(
            f"{place / WEIGHTS}: an adapter for another model than '{pretrained.provenance.name}', which lacks "
            f"{len(foreign)} of its layers: {shown}."
        )
    return tensors, written, left_out


def _known(name: str, known: set[str]) -> str | None:
    """The name below `backbone`: models with a head of their own have the backbone below a further name."""
    while name and name not in known:
        name = name.partition(".")[2]
    return name or None


def fill(layer: Any, parts: Mapping[str, Tensor], what: str) -> None:
    """Put an adapter's tensors into the peft layer that it is for.

    Raises
    ------
    ModelError
        If a shape differs.
    """
    import torch

    from unfreeze.models.low_rank import ADAPTER

    for leaf, tensor in parts.items():
        module = getattr(layer, leaf)[ADAPTER]
        place = module if isinstance(module, torch.Tensor) else module.weight
        if place.shape != tensor.shape:
            raise ModelError(
                f"'{what}.{leaf}' of the adapter has the shape {tuple(tensor.shape)} instead of {tuple(place.shape)}."
            )
        with torch.no_grad():
            place.copy_(tensor)


def write_exchange(
    folder: Path, pretrained: Pretrained, config: Any, tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write an adapter as peft does, for the bare backbone.

    Parameters
    ----------
    config : peft's configuration, whose base and targets are filled in here
    tensors : mapping of layer name to mapping of the end of a key ("lora_A.weight") to Tensor

    Raises
    ------
    ModelError
        If the model is not that of its name any more: see `changes_of_base`.
    """
    from safetensors.torch import save_file

    check_base(pretrained)
    config.base_model_name_or_path = base_name(pretrained)
    config.revision = pretrained.provenance.revision if pretrained.provenance.source == "hub" else None
    config.inference_mode = True
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        f"{PREFIX}{name}.{end}": tensor.detach().cpu().contiguous()
        for name, parts in tensors.items()
        for end, tensor in parts.items()
    }
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    # Sets in the order of the alphabet, so that equal runs write equal files.
    said = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    (folder / CONFIG).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_base(pretrained: Pretrained) -> None:
    """Refuse to write an adapter beside the name of a base on which it would do something else.

    Raises
    ------
    ModelError
        With what was changed.
    """
    changed = changes_of_base(pretrained)
    if changed:
        raise ModelError(f"there is no adapter in peft's layout, since the base was changed ({', '.join(changed)})")


def changes_of_base(pretrained: Pretrained) -> list[str]:
    """What makes the base another model than the one that others find by its name; [] if nothing does."""
    from unfreeze.models.sources import PIXEL_OPTIONS, holds_own_model

    asked = pretrained.asked
    resized = [f"model.{name}" for name in pretrained.spec.get("resized", [])]
    if asked is None:
        return resized
    changed = {
        "model.name is a run's model": asked.name is not None and holds_own_model(asked.name),
        "model.drop_top": asked.drop_top,
        "model.weights": asked.weights,
        "model.options": set(asked.options) - set(PIXEL_OPTIONS),
    }
    return [*(name for name, found in changed.items() if found), *resized]


def named(names: Sequence[str], pretrained: Pretrained) -> list[str] | str:
    """Targets as peft reads them: a list, or a regular expression where a name is the end of another's."""
    everything = [name for name, _ in backbone_of(pretrained).named_modules() if name not in set(names)]
    ends = tuple(f".{name}" for name in names)
    hazard = any(name.endswith(ends) for name in everything) or any(
        one != other and one.endswith(other) for one in names for other in names
    )
    return exactly(names) if hazard else sorted(names)


def base_name(pretrained: Pretrained) -> str:
    """The base's name as the Hub, or the file system, knows it."""
    from unfreeze.models import embedded

    name = pretrained.provenance.name
    return f"{embedded.MINILM_OWNER}{name}" if name == embedded.MINILM else name
