"""The shipped weights of the embedded image model: the recorded ones, small, and worth starting from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from unfreeze.errors import ModelError
from unfreeze.models import embedded
from unfreeze.models.load import load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.recipe import ModelRecipe

ROWS = 360


def loaded(random_weights: bool = False) -> Pretrained:
    model = ModelRecipe(name=embedded.TINY_CNN)
    return load_pretrained(model, modality="image", outputs=10, seed=0, random_weights=random_weights)


def test_the_file_is_the_recorded_one_and_small() -> None:
    file = embedded.tiny_cnn_weights()
    assert embedded.file_sha256(file) == embedded.TINY_CNN_SHA256
    assert file.stat().st_size < 4_000_000


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(embedded.TINY_CNN_WEIGHTS.read_bytes())
    content[-1] ^= 1
    changed = tmp_path / "weights.safetensors"
    changed.write_bytes(content)
    monkeypatch.setattr(embedded, "TINY_CNN_WEIGHTS", changed)
    with pytest.raises(ModelError, match="sha256"):
        embedded.tiny_cnn_weights()


def test_every_weight_but_the_head_is_taken_from_the_file() -> None:
    trained, random = loaded().module.state_dict(), loaded(random_weights=True).module.state_dict()
    same = [name for name in trained if torch.equal(trained[name], random[name])]
    assert same
    assert all(".fc." in name or name.endswith("num_batches_tracked") for name in same)


def features(pretrained: Pretrained, images: list[Image.Image]) -> Tensor:
    pretrained.module.backbone.fc = nn.Identity()
    batch = pretrained.preprocess.collate([pretrained.preprocess.from_pil(image) for image in images])
    with torch.inference_mode():
        found: Tensor = pretrained.module.eval()(**batch)
    return found.clone()


def test_a_linear_probe_reads_handwritten_digits_it_was_never_trained_on() -> None:
    digits = load_digits()
    pixels = np.rint(255 - digits.images[:ROWS] * (255 / 16)).astype(np.uint8)
    seen = features(loaded(), [Image.fromarray(image) for image in pixels])
    seen = (seen - seen.mean(dim=0)) / (seen.std(dim=0) + 1e-6)
    wanted = torch.nn.functional.one_hot(torch.from_numpy(digits.target[:ROWS])).float()
    train, test = slice(0, ROWS * 2 // 3), slice(ROWS * 2 // 3, ROWS)
    ridge = seen[train].T @ seen[train] + 100 * torch.eye(seen.shape[1])
    weights = torch.linalg.solve(ridge, seen[train].T @ (wanted[train] - 0.1))
    accuracy = float(((seen[test] @ weights).argmax(dim=1) == wanted[test].argmax(dim=1)).float().mean())
    assert accuracy > 0.7, "a tenth of them would be chance"
