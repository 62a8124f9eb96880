"""Linear probes: how much of other worlds a frozen network's features tell, on sets that it was never trained on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from unfreeze.models.head import Head
from unfreeze.models.load import load_pretrained
from unfreeze.models.pixels import ImagePreprocessor
from unfreeze.recipe import ModelRecipe

SPLITS = ("train", "validation", "test")
PER_CLASS = {"train": 100, "validation": 50, "test": 100}
"""At most so many images of each class of a folder, the first by name: keeps the probes short."""

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Of the logistic regression's penalty (scikit-learn's C); the best on validation is taken."""


@dataclass(frozen=True)
class ProbeSet:
    """Images and labels of one set by split."""

    images: dict[str, list[Image.Image]]
    labels: dict[str, list[str]]


def probe_sets(shared: Path) -> dict[str, ProbeSet]:
    """Satellite tiles, X-rays of chests, handwritten digits."""
    folders = {name: _folder(shared / "data" / name) for name in ("eurosat_rgb", "chest_xray_pneumonia")}
    return {**folders, "digits": _digits()}


def probe(model: ModelRecipe, data: ProbeSet, *, random_weights: bool = False) -> dict[str, float]:
    """Accuracy of a logistic regression on the pooled features: chosen on validation, scored once on test."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = {split: _features(model, data.images[split], random_weights) for split in SPLITS}
    best = {"validation": -1.0}
    for strength in STRENGTHS:
        regression = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            regression.fit(features["train"], data.labels["train"])
        score = float(regression.score(features["validation"], data.labels["validation"]))
        if score > best["validation"]:
            test = float(regression.score(features["test"], data.labels["test"]))
            best = {"validation": score, "test": test, "strength": strength}
    return best


def majority(data: ProbeSet) -> dict[str, float]:
    """Accuracy of the most frequent training class."""
    train = data.labels["train"]
    most = max(sorted(set(train)), key=train.count)
    return {split: data.labels[split].count(most) / len(data.labels[split]) for split in SPLITS[1:]}


def _features(model: ModelRecipe, images: list[Image.Image], random_weights: bool) -> NDArray[np.float32]:
    loaded = load_pretrained(model, modality="image", outputs=2, seed=0, random_weights=random_weights)
    network, reader = loaded.module.eval(), loaded.preprocess
    assert isinstance(reader, ImagePreprocessor)
    head = next(name for name, module in network.named_modules() if isinstance(module, Head))
    network.set_submodule(head, nn.Identity())
    with torch.inference_mode():
        found = [
            network(**reader.collate([reader.from_pil(image) for image in images[start : start + 64]])).numpy()
            for start in range(0, len(images), 64)
        ]
    return np.concatenate(found)


def _folder(path: Path) -> ProbeSet:
    files = {
        split: [
            file for folder in sorted((path / split).iterdir()) for file in sorted(folder.iterdir())[: PER_CLASS[split]]
        ]
        for split in SPLITS
    }
    images = {split: [_small(Image.open(file).convert("RGB")) for file in files[split]] for split in SPLITS}
    return ProbeSet(images, {split: [file.parent.name for file in files[split]] for split in SPLITS})


def _small(image: Image.Image) -> Image.Image:
    """At most twice the model's input, so that a set fits in memory."""
    image.thumbnail((160, 160), Image.Resampling.BICUBIC)
    return image


def _digits() -> ProbeSet:
    """scikit-learn's handwritten digits, dark on white as in the demonstration; 60, 20 and 20 % drawn by seed."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    cuts = dict(zip(SPLITS, np.split(order, [len(order) * 6 // 10, len(order) * 8 // 10]), strict=True))
    pixels = np.rint(255 - digits.images * (255 / 16)).astype(np.uint8)
    return ProbeSet(
        {split: [Image.fromarray(pixels[row]).convert("RGB") for row in rows] for split, rows in cuts.items()},
        {split: [str(digits.target[row]) for row in rows] for split, rows in cuts.items()},
    )
