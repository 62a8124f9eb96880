"""Image models: a timm network whose classifier is the new head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unfreeze import _torchvision  # noqa: F401  (before timm)
from unfreeze.errors import ModelError
from unfreeze.models._state import seeded
from unfreeze.models.families import family_of_timm, specialise
from unfreeze.models.head import Head, initialise
from unfreeze.models.pretrained import Family
from unfreeze.stack.groups import build_stack


class ImageModel(nn.Module):
    """A timm network. Its parameters are named `backbone.*`, those of the head by the network's own name for it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels of shape (rows, channels, size, size) to outputs of shape (rows, outputs)."""
        outputs: Tensor = self.backbone(pixel_values)
        return outputs


def network(architecture: str, options: dict[str, Any], seed: int = 0) -> nn.Module:
    """A timm network with new weights.

    Raises
    ------
    ModelError
        If an option is unknown or does not fit.
    """
    from unfreeze.models.tiny_cnn import timm

    own = family_of_timm(architecture).extras.get("options", {})
    try:
        with seeded(seed):
            made: nn.Module = timm.create_model(architecture, pretrained=False, **{**own, **options}).eval()
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ModelError(f"timm cannot make '{architecture}' with the options {options}: {error}") from error
    return made


def build(spec: dict[str, Any], seed: int) -> ImageModel:
    """The architecture of a spec with new weights that follow from the seed."""
    family = family_of_timm(spec["architecture"])
    size = {"img_size": spec["image_size"]} if family.extras.get("resizes") else {}
    module = ImageModel(network(spec["architecture"], {**spec["options"], **size, "in_chans": spec["channels"]}, seed))
    if spec["drop_top"]:
        drop_blocks(module, specialise(family, spec["architecture"], module), spec["drop_top"])
    names = head_names(module.backbone)
    for name in names:
        module.backbone.set_submodule(name, nn.Identity())
    width = _width(module, family, spec)
    for number, name in enumerate(names):
        with seeded(seed):
            head = Head(width, spec["outputs"], spec["dropout"] or 0.0)
        initialise(head, seed + number)
        module.backbone.set_submodule(name, head)
    _set_dropout(module.backbone, spec["dropout"])
    return module.eval()


def head_names(backbone: nn.Module) -> tuple[str, ...]:
    """Where a timm network keeps its classifier: one place, or two in distilled transformers."""
    found = backbone.pretrained_cfg.get("classifier")  # type: ignore[union-attr, operator]
    if not found:
        raise ModelError(f"timm does not say where {type(backbone).__name__} keeps its classifier.")
    return (found,) if isinstance(found, str) else tuple(found)


def drop_blocks(module: ImageModel, family: Family, count: int) -> None:
    """Let the topmost blocks pass their input on unchanged.

    Raises
    ------
    ModelError
        If fewer than one block would remain.
    """
    stack = build_stack(module, family.patterns)
    blocks = [group for group in stack.groups if group.name.startswith("block ")]
    if count >= len(blocks):
        raise ModelError(f"model.drop_top must be less than the model's {len(blocks)} blocks. Got {count} instead.")
    for group in blocks[len(blocks) - count :]:
        for name, _ in stack.modules(group):
            module.set_submodule(name, nn.Identity())
    for layer in module.modules():
        # An activation of a dropped block would write into what the one before it keeps for the backward pass.
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[assignment]


def _width(module: ImageModel, family: Family, spec: dict[str, Any]) -> int:
    """How many features reach the classifier, which has to be an identity.

    After dropped blocks, layers that expect the former number of channels (`extras["after"]`) are passed over.
    """
    try:
        return _features(module, spec)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        if not spec["drop_top"]:
            size = spec["image_size"]
            raise ModelError(
                f"'{spec['architecture']}' cannot read images of {size} x {size} pixels: {error}"
            ) from error
    for name in family.extras.get("after", ()):
        if hasattr(module.backbone, name.split(".")[0]):
            module.backbone.set_submodule(name, nn.Identity())
    return _features(module, spec)


def _features(module: ImageModel, spec: dict[str, Any]) -> int:
    size = spec["image_size"]
    grid = getattr(getattr(module.backbone, "patch_embed", None), "grid_size", (1, 1))
    if min(grid) < 1:
        raise ValueError("smaller than one patch")
    with torch.no_grad():
        features = module(torch.zeros(1, spec["channels"], size, size))
    return int(features.shape[-1])


def _set_dropout(backbone: Any, rate: float | None) -> None:
    """Dropout inside the blocks as asked; that before the classifier is the head's own."""
    for name, layer in backbone.named_modules():
        if isinstance(layer, nn.Dropout) and rate is not None:
            layer.p = rate
        if name in ("head_drop", "head.drop") and isinstance(layer, nn.Dropout):
            layer.p = 0.0
    if hasattr(backbone, "drop_rate"):
        backbone.drop_rate = 0.0


def fit_image(
    name: str, weight: Tensor, place: Tensor, prefix_tokens: int, grid: tuple[int, int] | None
) -> Tensor | None:
    """Weights of the first layer for other channels, positions for another size; None for any other weight."""
    if weight.ndim == place.ndim == 4 and weight.shape[0] == place.shape[0] and weight.shape[2:] == place.shape[2:]:
        return adapt_channels(weight, place.shape[1])
    if name.endswith("pos_embed") and grid is not None:
        from timm.layers.pos_embed import resample_abs_pos_embed

        resampled: Tensor = resample_abs_pos_embed(weight, list(grid), num_prefix_tokens=prefix_tokens)
        return resampled
    return None


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weights for another number of input channels, so that a grey image gives the same output.

    One channel sums what the channels learned; more repeat them and share their weights between the copies; fewer
    keep the first and are scaled.

    Parameters
    ----------
    weight : Tensor of shape (out, in, height, width)
    """
    known = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    if channels < known:
        return weight[:, :channels] * (known / channels)
    source = torch.arange(channels) % known
    copies = torch.bincount(source, minlength=known)[source].to(weight.dtype)
    return weight[:, source] / copies.view(1, -1, 1, 1)
