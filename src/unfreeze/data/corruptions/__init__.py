"""Corruptions: what happens to inputs in the world, at five severities, to see how a model bears it. One file each."""

from __future__ import annotations

from unfreeze.data.corruptions._corruption import Corruption
from unfreeze.data.manifest import Modality
from unfreeze.registry import Registry

CORRUPTIONS: Registry[Corruption] = Registry("corruption", "unfreeze.data.corruptions", "CORRUPTION")


def corruptions_of(modality: Modality) -> dict[str, Corruption]:
    """Those for texts or for images, by name."""
    return {name: entry for name, entry in CORRUPTIONS.items() if entry.modality == modality}


__all__ = ["CORRUPTIONS", "Corruption", "corruptions_of"]
