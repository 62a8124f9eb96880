"""Makes torchvision importable where its compiled operators do not match the installed torch.

Import this module before timm, transformers or torchvision. Such an installation fails with "operator
torchvision::nms does not exist", because torchvision describes some operators to torch although the library that
defines them did not load. Defining those here, in plain PyTorch, is all that the imports need. Where the compiled
operators do load, nothing happens. Only image models need torchvision, so its absence is no error here.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def nms(dets: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: indices of the boxes that are kept, highest score first.

    Parameters
    ----------
    dets : Tensor of shape (boxes, 4)
        Corners x1, y1, x2, y2. Integers (of quantised boxes, `qnms`) serve as well: the ratio of areas is the same.
    scores : Tensor of shape (boxes,)
    iou_threshold : float
        A box goes when its intersection over union with a kept one is greater than this.

    Source: the semantics of `torchvision.ops.nms`.
    """
    dets = dets if dets.is_floating_point() else dets.float()
    order = scores.argsort(descending=True, stable=True)
    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    kept: list[Tensor] = []
    while order.numel():
        first, order = order[0], order[1:]
        kept.append(first)
        corner_low = torch.maximum(dets[first, :2], dets[order, :2])
        corner_high = torch.minimum(dets[first, 2:], dets[order, 2:])
        overlap = (corner_high - corner_low).clamp(min=0).prod(dim=1)
        order = order[~(overlap / (areas[first] + areas[order] - overlap) > iou_threshold)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long, device=dets.device)


def _compiled() -> bool:
    """Whether torchvision's own library defines the operators (or torchvision is not there at all)."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return True
    for suffix in EXTENSION_SUFFIXES:
        library = Path(found.origin).with_name(f"_C{suffix}")
        if library.exists():
            try:
                torch.ops.load_library(str(library))
            except OSError:
                return False
            return hasattr(torch.ops.torchvision, "nms")
    return False


def _define() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + SIGNATURE)
            library.impl(name, nms, "CPU")
            library.impl(name, nms, "CUDA")
    return library


# The library object has to live as long as the operator is used.
_library = None if hasattr(torch.ops.torchvision, "nms") or _compiled() else _define()
