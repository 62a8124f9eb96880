"""Save a model and load it again without any network: safetensors, JSON and the tokenizer's files."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.models import pixels
from unfreeze.models._state import first_shared
from unfreeze.models.embedded import EMBEDDED
from unfreeze.models.families import FAMILIES, specialise
from unfreeze.models.pretrained import Family, Preprocessor, Pretrained, Provenance
from unfreeze.models.techniques import tune
from unfreeze.models.tokens import TextPreprocessor
from unfreeze.recipe import ModelRecipe

DESCRIPTION = "unfreeze.json"
WEIGHTS = "model.safetensors"
FORMAT = 1


def save(pretrained: Pretrained, folder: Path, unmoved: Collection[str] = ()) -> None:
    """Write weights and buffers exactly as they are, the architecture and the preprocessing.

    Parameters
    ----------
    unmoved : collection of str
        Names of parameters and buffers that never learned. Of a model with additions they are left out: it is saved
        as what learned and the name, revision and hash of its base.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in first_shared(pretrained.module).items()}
    description = {
        "format": FORMAT,
        "family": pretrained.family.name,
        "provenance": asdict(pretrained.provenance),
        "spec": pretrained.spec,
    }
    if pretrained.additions and pretrained.asked is not None:
        left_out = set(unmoved)
        state = {name: tensor for name, tensor in state.items() if name not in left_out}
        description["base"] = asdict(_anchored(pretrained.asked, pretrained.provenance))
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    pretrained.preprocess.save(folder)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, base: Pretrained | None = None) -> Pretrained:
    """The model that `save` wrote, in eval mode: its outputs are the same to the bit.

    Parameters
    ----------
    base : Pretrained, optional
        What `base_of` gave for a saved model with the same base: its weights are used, and not copied.

    Raises
    ------
    ModelError
        If the folder holds no such model, its weights do not fit, or its base is not the one that it learned on.
    """
    from unfreeze.models.load import build

    description = _description(folder)
    if "base" in description:
        return _on_base(folder, description, base_of(folder) if base is None else base)
    spec: dict[str, Any] = description["spec"]
    module = build(spec, seed=0, empty="tuning" not in spec)
    found = Pretrained(module, _preprocessor(folder, spec), *_identity(description, module), spec)
    if "tuning" in spec:  # saved whole, since nobody could say where its base comes from
        tune(found, spec["tuning"]["method"], spec["tuning"]["options"])
    _fill_exactly(module.state_dict(), _weights(folder), set(first_shared(module)), folder)
    module.eval()
    return found


def base_of(folder: Path) -> Pretrained:
    """The pre-trained model below a saved one that holds only what learned; its head is new.

    Raises
    ------
    ModelError
        If it cannot be found, or holds other weights than those that the saved model learned on.
    """
    from unfreeze.models.load import fitted
    from unfreeze.models.sources import find

    description = _description(folder)
    if "base" not in description:
        raise ModelError(f"The model in {folder} has no base: all of its weights are its own.")
    asked = ModelRecipe(**description["base"])
    spec = {key: value for key, value in description["spec"].items() if key != "tuning"}
    try:
        source = find(asked, spec["modality"], weights=True)
    except ModelError as error:
        raise ModelError(f"{folder} holds an adapter only, and its base cannot be loaded: {error}") from error
    found = replace(fitted(source, spec, _preprocessor(folder, spec), seed=0), asked=asked)
    expected = description["provenance"]["sha256"]
    if found.provenance.sha256 != expected:
        raise ModelError(
            f"{folder} holds an adapter that learned on '{asked.name}' with weights of sha256 {expected[:12]}…; those "
            f"found there now have {found.provenance.sha256[:12]}…. On another base it would predict something else."
        )
    found.module.eval()
    return found


def _on_base(folder: Path, description: dict[str, Any], base: Pretrained) -> Pretrained:
    """What learned, put into a copy of the base that shares the base's weights."""
    if base.provenance.sha256 != description["provenance"]["sha256"]:
        raise ModelError(f"The adapter in {folder} learned on another base than '{base.provenance.name}'.")
    state = _weights(folder)
    spec: dict[str, Any] = description["spec"]
    shared = {id(tensor): tensor for tensor in (*base.module.parameters(), *base.module.buffers())}
    module = copy.deepcopy(base.module, shared)  # type: ignore[arg-type]
    found = Pretrained(module, _preprocessor(folder, spec), *_identity(description, module), spec, base.asked)
    tune(found, spec["tuning"]["method"], spec["tuning"]["options"])
    stack = found.stack()
    own = [group for group in stack.groups if group.beside or group == stack.groups[-1]]
    needed = {name for group in own for name in (*group.parameters, *group.buffers)} & set(found.module.state_dict())
    _own_copies(found.module, {*state, *needed})
    _fill_exactly(found.module.state_dict(), state, needed, folder)
    found.module.eval()
    return found


def _own_copies(module: nn.Module, names: Collection[str]) -> None:
    """Tensors that differ from the base's in memory of their own, so that filling them leaves the base as it is."""
    for name in names:
        owner, _, leaf = name.rpartition(".")
        place = module.get_submodule(owner) if _has(module, owner) else None
        if place is None:
            continue  # said by what fills
        parameter, buffer = place._parameters.get(leaf), place._buffers.get(leaf)
        if parameter is not None:
            place._parameters[leaf] = nn.Parameter(parameter.detach().clone())
        elif buffer is not None:
            place._buffers[leaf] = buffer.clone()


def _has(module: nn.Module, name: str) -> bool:
    return name == "" or any(name == other for other, _ in module.named_modules(remove_duplicate=False))


def _identity(description: dict[str, Any], module: nn.Module) -> tuple[Family, Provenance]:
    family = specialise(FAMILIES.get(description["family"]), description["provenance"]["name"], module)
    return family, Provenance(**description["provenance"])


def _weights(folder: Path) -> dict[str, Tensor]:
    from unfreeze.models.sources import read_safetensors

    return read_safetensors(folder / WEIGHTS)


def _anchored(asked: ModelRecipe, provenance: Provenance) -> ModelRecipe:
    """Local places as absolute paths, so that the base is found from any folder; the commit that was read of the Hub's,
    whose repository may move on."""

    def absolute(place: str | None) -> str | None:
        return str(Path(place).expanduser().resolve()) if place and Path(place).expanduser().exists() else place

    name = asked.name if asked.name in EMBEDDED else absolute(asked.name)
    return replace(asked, name=name, weights=absolute(asked.weights), revision=asked.revision or provenance.commit)


def _description(folder: Path) -> dict[str, Any]:
    file = folder / DESCRIPTION
    if not file.is_file():
        raise ModelError(f"The folder {folder} holds no saved model: {DESCRIPTION} is missing.")
    from unfreeze.models.sources import read_description

    description = read_description(file)
    if description.get("format") != FORMAT:
        raise ModelError(
            f"{file}: expected format {FORMAT}, found {description.get('format')}: use the version that wrote it."
        )
    return description


def _fill_exactly(places: dict[str, Tensor], state: dict[str, Tensor], needed: set[str], folder: Path) -> None:
    missing, unknown = sorted(needed - set(state)), sorted(set(state) - set(places))
    wrong = [name for name in state if name in places and places[name].shape != state[name].shape]
    if missing or unknown or wrong:
        raise ModelError(
            f"{folder / WEIGHTS}: {len(missing)} weights are missing, {len(unknown)} unknown, {len(wrong)} of another "
            f"shape: {', '.join([*missing, *unknown, *wrong][:4])}."
        )
    for name, tensor in state.items():
        places[name].copy_(tensor)


def _preprocessor(folder: Path, spec: dict[str, Any]) -> Preprocessor:
    if spec["modality"] == "image":
        return pixels.load(folder)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"The tokenizer in {folder} is missing or damaged: {reason}") from None
    return TextPreprocessor(tokenizer, spec["max_length"], spec["token_types"])
