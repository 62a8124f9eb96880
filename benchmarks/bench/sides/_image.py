"""What the peers on images share: rows, the network with its weights, what learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from bench.jobs import WEIGHT_DECAY
from bench.work import Work

SIZE = 224
CROP = (0.7, 1.0)
"""Share of the area that a random crop keeps, as unfreeze's default for images has it."""

PIXELS = ("mean", "std")


class Photos(Dataset[Any]):
    """Images with their classes, decoded each time that they are read."""

    def __init__(self, rows: list[tuple[Any, str]], labels: list[str], transform: Callable[..., Any] | None = None):
        self.rows = rows
        self.numbers = {label: number for number, label in enumerate(labels)}
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        path, label = self.rows[index]
        with Image.open(path) as file:
            image: Any = file.convert("RGB")
        return (self.transform(image) if self.transform else image), self.numbers[label]


def network(work: Work) -> nn.Module:
    """The timm network with the job's weights and a new head of small weights."""
    import timm
    from safetensors.torch import load_file

    options = {
        key: value for key, value in work.job.model.options.get("model__options", {}).items() if key not in PIXELS
    }
    model: Any = timm.create_model(work.job.model.name, pretrained=False, num_classes=len(work.labels), **options)
    head = model.pretrained_cfg["classifier"]
    state = {name: tensor for name, tensor in load_file(work.place).items() if not name.startswith(f"{head}.")}
    missing = model.load_state_dict(state, strict=False)
    odd = [name for name in missing.missing_keys if not name.startswith(head) and "num_batches" not in name]
    assert not odd, odd
    assert not missing.unexpected_keys, missing.unexpected_keys
    layer = model.get_submodule(head)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    made: nn.Module = model
    return made


def pixels(work: Work) -> dict[str, Any]:
    """`mean`, `std`, `crop_pct` and `interpolation` that the network was trained with."""
    import timm
    from timm.data.config import resolve_data_config

    known: Any = timm.get_pretrained_cfg(work.job.model.name)
    found = resolve_data_config({}, pretrained_cfg=known.to_dict())
    own = {key: value for key, value in work.job.model.options.get("model__options", {}).items() if key in PIXELS}
    return {**{key: found[key] for key in (*PIXELS, "crop_pct", "interpolation")}, **own}


def transform(work: Work, training: bool) -> Any:
    """Random crops where unfreeze crops, else the centre."""
    from timm.data.transforms_factory import create_transform

    return create_transform(SIZE, **transform_options(work, training), **pixels(work))


def transform_options(work: Work, training: bool) -> dict[str, Any]:
    """What timm's transforms and loaders are told of augmentation."""
    plain = {"hflip": 0.0, "color_jitter": 0.0, "is_training": training}
    return {**plain, "scale": CROP} if work.job.augmented else {**plain, "no_aug": True}


def top_modules(model: Any, work: Work) -> tuple[list[nn.Module], nn.Module]:
    """The modules of the last stage, and the head."""
    last = [model.get_submodule(name) for name in work.job.model.last]
    return last, model.get_submodule(model.pretrained_cfg["classifier"])


def let_learn(model: nn.Module, work: Work) -> None:
    """All, the last stage with the head, or the head."""
    last, head = top_modules(model, work)
    everything = work.job.top is None
    for parameter in model.parameters():
        parameter.requires_grad_(everything)
    for module in [head] if work.job.top == 1 else [head, *last]:
        for parameter in module.parameters():
            parameter.requires_grad_(True)


def rate_groups(model: nn.Module, work: Work) -> list[dict[str, Any]]:
    """The optimizer's groups of what learns: unfreeze's rates for the head and the rest, no decay for vectors."""
    _, head = top_modules(model, work)
    of_head = {id(parameter) for parameter in head.parameters()}
    found = []
    for is_head, rate in ((False, work.job.model.lr), (True, work.job.model.head_lr)):
        for matrix in (True, False):
            params = [
                p
                for p in model.parameters()
                if p.requires_grad and (id(p) in of_head) is is_head and (p.ndim > 1) is matrix
            ]
            if params:
                found.append({"params": params, "lr": rate, "weight_decay": WEIGHT_DECAY if matrix else 0.0})
    return found
