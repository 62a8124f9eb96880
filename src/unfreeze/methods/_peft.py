"""What is common in using peft: putting its layers into a model, and folding them into the model's own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from unfreeze.models.pretrained import Pretrained

SEED = 0
"""Of the new weights, which do not follow from the run's seed: runs then differ by what they learned alone."""


def backbone_of(pretrained: Pretrained) -> nn.Module:
    """The network as its library made it, by whose names peft's layers are known elsewhere."""
    return pretrained.module.get_submodule("backbone")


def library() -> Any:
    """peft, imported as it has to be: after torchvision's repair and bitsandbytes."""
    from unfreeze import _torchvision  # noqa: F401  (before peft)
    from unfreeze.models.nf4_kernels import load_bitsandbytes

    load_bitsandbytes()
    import peft  # isort: skip

    return peft


def inject(pretrained: Pretrained, config: Any) -> None:
    """Put peft's layers of that configuration into a model, in place; weights there keep their values."""
    from unfreeze.models._state import seeded
    from unfreeze.models.low_rank import ADAPTER

    backbone: Any = backbone_of(pretrained)
    with seeded(SEED), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what is chosen on purpose, such as the orientation of weights
        library().inject_adapter_in_model(config, backbone, adapter_name=ADAPTER)
    del backbone.peft_config
    pretrained.module.train(pretrained.module.training)


def exactly(names: Sequence[str]) -> str:
    """A regular expression that matches these names only: peft takes a list for the ends of names."""
    return "|".join(map(re.escape, names))


def adapted(pretrained: Pretrained) -> dict[str, Any]:
    """peft's layers by their names below `backbone`."""
    kind = library().tuners.tuners_utils.BaseTunerLayer
    return {name: layer for name, layer in backbone_of(pretrained).named_modules() if isinstance(layer, kind)}


def merge_layers(pretrained: Pretrained) -> None:
    """Fold peft's layers into the model's own weights, in place, and take them out.

    Weights may be shared with other models over the same base, so that the folded ones are made anew.
    """
    from unfreeze.models.low_rank import fold_start

    backbone = backbone_of(pretrained)
    for name, layer in adapted(pretrained).items():
        base = layer.get_base_layer()
        _own_weights(base)
        layer.merge(safe_merge=True)
        fold_start(layer)
        backbone.set_submodule(name, base)


def _own_weights(layer: nn.Module) -> None:
    from torch import nn

    for name, parameter in list(layer.named_parameters(recurse=False)):
        layer._parameters[name] = nn.Parameter(parameter.detach().clone())
