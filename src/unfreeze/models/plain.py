"""A model as its own library stores it, and its head beside it, so that it is used without this project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from unfreeze.data.manifest import Manifest
from unfreeze.errors import ModelError
from unfreeze.models._state import first_shared
from unfreeze.models.image import ImageModel, head_names
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.text import TextModel

HEAD, HEAD_MEANING = "head.safetensors", "head.json"


def write_plain(pretrained: Pretrained, folder: Path) -> Path:
    """Write a model that holds no additions into a folder of the library's name, which is returned.

    - `transformers`: the backbone without the new head, and the tokenizer. `AutoModel.from_pretrained(folder)` gives
      the token features that the head here reads pooled.
    - `timm`: the whole network, whose classifier is the head. `timm.create_model("local-dir:" + folder,
      pretrained=True)` gives the outputs.

    Raises
    ------
    ModelError
        If the library cannot make such a network.
    """
    folder = folder / pretrained.family.library
    if isinstance(pretrained.module, ImageModel):
        _write_timm(pretrained, pretrained.module.backbone, folder)
    else:
        _write_transformers(pretrained.module.get_submodule("backbone"), folder)
        pretrained.preprocess.save(folder)
    return folder


def write_head(pretrained: Pretrained, folder: Path, manifest: Manifest) -> None:
    """Write what turns a backbone's features into predictions, beside a backbone or an adapter that has no head.

    - `head.safetensors`: `weight` of shape (outputs, width) and `bias` of shape (outputs,), which make outputs of the
      pooled features.
    - `head.json`: how token features are pooled (`mean`, `first` or `last` of the real tokens), how many tokens in
      front are no text's (`virtual_tokens`), at most how many are read (`max_length`); for images how pixels are read.
      And what outputs mean: the task, its labels in order, or the mean and scale of a number.

    Raises
    ------
    ModelError
        If the model has two heads.
    """
    head = _head(pretrained)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}, folder / HEAD)
    write_meaning(pretrained, folder, manifest)


def write_meaning(pretrained: Pretrained, folder: Path, manifest: Manifest) -> None:
    """Write `head.json` alone, where the head lies within the network: see `write_head`."""
    module, reader = pretrained.module, pretrained.preprocess.config()
    said: dict[str, Any] = {"task": manifest.task, "labels": list(manifest.labels)}
    if not manifest.labels:
        said |= {"target_mean": manifest.target_mean, "target_scale": manifest.target_scale}
    if isinstance(module, TextModel):
        said |= {"pooling": module.pooling.how, "virtual_tokens": module.virtual_tokens}
        said |= {key: reader[key] for key in ("max_length", "token_types")}
    else:
        said["pixels"] = reader
    (folder / HEAD_MEANING).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _head(pretrained: Pretrained) -> nn.Module:
    if isinstance(pretrained.module, TextModel):
        return pretrained.module.head
    backbone: Any = pretrained.module.backbone
    first, *others = head_names(backbone)
    if others:
        raise ModelError(f"'{pretrained.provenance.name}' has two heads, which {HEAD} cannot hold")
    head: nn.Module = backbone.get_submodule(first)
    return head


def _write_transformers(backbone: nn.Module, folder: Path) -> None:
    config: Any = backbone.config
    config.architectures = [type(backbone).__name__]
    config.save_pretrained(folder)
    _write_weights(backbone, folder)


def _write_weights(network: nn.Module, folder: Path) -> None:
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in first_shared(network).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _write_timm(pretrained: Pretrained, network: nn.Module, folder: Path) -> None:
    spec: dict[str, Any] = pretrained.spec
    if spec["drop_top"]:
        raise ModelError("timm cannot make a network without its topmost blocks")
    reader = pretrained.preprocess.config()
    known: dict[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    size = [spec["channels"], spec["image_size"], spec["image_size"]]
    options = {**pretrained.family.extras.get("options", {}), **spec["options"], "in_chans": spec["channels"]}
    if pretrained.family.extras.get("resizes"):
        options["img_size"] = spec["image_size"]
    description = {
        "architecture": spec["architecture"],
        "num_classes": spec["outputs"],
        "num_features": getattr(network, "num_features", None),
        "model_args": options,
        "pretrained_cfg": {
            "input_size": size,
            "fixed_input_size": bool(known.get("fixed_input_size", False)),
            "mean": list(reader["mean"]),
            "std": list(reader["std"]),
            "interpolation": reader["interpolation"],
            "crop_pct": reader["crop_share"],
            "num_classes": spec["outputs"],
            "first_conv": known.get("first_conv"),
            "classifier": known.get("classifier"),
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(network, folder)
    (folder / "config.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
