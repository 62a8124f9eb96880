"""The embedded image network: a small ResNet of this project, known to timm as `unfreeze_tiny_cnn`.

`from unfreeze.models.tiny_cnn import timm` gives a timm that knows it. Importing this module takes seconds, of which
texts have no use.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from unfreeze import _torchvision  # noqa: F401  (before timm)

import timm as timm  # isort: skip

ARCHITECTURE = "unfreeze_tiny_cnn"
CHANNELS = (32, 64, 128, 256)

default_cfgs = {
    ARCHITECTURE: {
        "input_size": (3, 64, 64),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "num_classes": 1000,
        "pool_size": (4, 4),
        "first_conv": "conv1.0",
        "classifier": "fc",
        "license": "apache-2.0",
    }
}


def _register() -> None:
    from timm.models import register_model
    from timm.models.resnet import BasicBlock, ResNet

    def unfreeze_tiny_cnn(pretrained: bool = False, **options: Any) -> nn.Module:
        """Four residual blocks after a stem of three convolutions, for images of 64 pixels: 1.2 million parameters."""
        for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
            options.pop(unused, None)
        network = ResNet(
            BasicBlock,  # type: ignore[arg-type]
            layers=(1, 1, 1, 1),
            channels=CHANNELS,
            stem_type="deep",
            stem_width=CHANNELS[0] // 2,
            act_layer=nn.SiLU,
            **options,
        )
        network.maxpool = nn.Identity()  # type: ignore[assignment]
        cfg: Any = dict(default_cfgs[ARCHITECTURE], architecture=ARCHITECTURE)
        network.pretrained_cfg = network.default_cfg = cfg
        return network

    unfreeze_tiny_cnn.__module__ = __name__
    register_model(unfreeze_tiny_cnn)


_register()
