"""Save a model and load it again without any network: safetensors, JSON and the tokenizer's files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from unfreeze.errors import ModelError
from unfreeze.models import pixels
from unfreeze.models._state import first_shared
from unfreeze.models.families import FAMILIES, specialise
from unfreeze.models.pretrained import Preprocessor, Pretrained, Provenance
from unfreeze.models.tokens import TextPreprocessor

DESCRIPTION = "unfreeze.json"
WEIGHTS = "model.safetensors"
FORMAT = 1


def save(pretrained: Pretrained, folder: Path) -> None:
    """Write weights and buffers exactly as they are, the architecture and the preprocessing."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in first_shared(pretrained.module).items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    pretrained.preprocess.save(folder)
    description = {
        "format": FORMAT,
        "family": pretrained.family.name,
        "provenance": asdict(pretrained.provenance),
        "spec": pretrained.spec,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Pretrained:
    """The model that `save` wrote, in eval mode: its outputs are the same to the bit.

    Raises
    ------
    ModelError
        If the folder holds no such model, or its weights do not fit.
    """
    from unfreeze.models.load import build
    from unfreeze.models.sources import read_safetensors

    description = _description(folder)
    spec: dict[str, Any] = description["spec"]
    module = build(spec, seed=0)
    _fill_exactly(module.state_dict(), read_safetensors(folder / WEIGHTS), set(first_shared(module)), folder)
    family = specialise(FAMILIES.get(description["family"]), description["provenance"]["name"], module)
    provenance = Provenance(**description["provenance"])
    return Pretrained(module.eval(), _preprocessor(folder, spec), family, provenance, spec)


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
