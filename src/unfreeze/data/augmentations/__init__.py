"""Augmentations of training data: one file each."""

from __future__ import annotations

from unfreeze.data.augmentations._augmentation import Augmentation
from unfreeze.registry import Registry

AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", "unfreeze.data.augmentations", "AUGMENTATION")
