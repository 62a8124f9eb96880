"""From a run to the weights file that is shipped."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def export(run: Path, file: Path) -> Path:
    """Write the run's network in timm's names and halves, without its classifier, which every user replaces."""
    state = {
        name.removeprefix("backbone."): tensor for name, tensor in load_file(run / "model/model.safetensors").items()
    }
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    halves = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous() for name, tensor in kept.items()
    }
    assert all(torch.isfinite(tensor).all() for tensor in halves.values())
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, file, metadata={"format": "pt"})
    return file
