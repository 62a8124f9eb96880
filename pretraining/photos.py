"""The photographs that the embedded image model is pre-trained on, and the teacher's features of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unfreeze import _torchvision  # noqa: F401  (before timm)
from unfreeze.data.images import content, decode
from unfreeze.train.feed import Feed

SIDE = 64
"""Photographs are stored with a shorter side of so many pixels, the model's input."""

FOLDERS = ("flowers5", "trashnet")
TEACHER = "mobilenetv1_075/mobilenetv1_075_timm.safetensors"
TEACHER_SIDE = 128
"""Smaller than the 224 pixels that the teacher was trained with: a third of the cost."""


def write_table(shared: Path, path: Path) -> Path:
    """A Parquet table of image bytes and labels: CIFAR-10's training sample, and the photographs' training folders."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [*_cifar(shared / "data" / "cifar10" / "train.parquet"), *_folders(shared / "data")]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def _cifar(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for row in parquet.read_table(path).to_pylist():
        yield {"image": row["image"]["bytes"], "label": f"cifar10 {row['label']}"}


def _folders(data: Path) -> Iterator[dict[str, Any]]:
    for name in FOLDERS:
        for file in sorted((data / name / "train").glob("*/*.jpg")):
            yield {"image": _small(file), "label": f"{name} {file.parent.name}"}


def _small(file: Path) -> bytes:
    image = Image.open(file).convert("RGB")
    scale = SIDE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def teacher_features(feed: Feed, shared: Path, work: Path, batch: int = 64) -> Tensor:
    """The teacher's pooled features of every training row, of shape (rows, 768).

    They are computed once and kept in a file that is named by the images and their order.
    """
    from safetensors.torch import load_file, save_file

    keep = work / f"teacher-{_digest(feed)}.safetensors"
    if not keep.is_file():
        teacher = _teacher(shared / "weights" / TEACHER)
        found = []
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for start in range(0, len(feed), batch):
                refs = feed.examples.inputs[start : start + batch]
                pixels = torch.stack([_pixels(decode(ref, feed.max_pixels)) for ref in refs])
                maps = teacher.forward_features(pixels.to(memory_format=torch.channels_last))
                found.append(teacher.forward_head(maps, pre_logits=True).float())
        save_file({"features": torch.cat(found)}, keep)
    return load_file(keep)["features"]


def _digest(feed: Feed) -> str:
    digest = hashlib.sha256()
    for ref in feed.examples.inputs:
        digest.update(hashlib.sha256(content(ref)).digest())
    return digest.hexdigest()[:16]


def _teacher(file: Path) -> Any:
    from safetensors.torch import load_file
    from timm.models.efficientnet import _gen_mobilenet_v1

    teacher = _gen_mobilenet_v1("mobilenetv1_100", 0.75, pad_type="same", bn_eps=1e-3)
    wrong = teacher.load_state_dict(load_file(file), strict=False)
    assert not wrong.unexpected_keys, wrong
    assert all(key.endswith("num_batches_tracked") for key in wrong.missing_keys), wrong
    return teacher.eval().to(memory_format=torch.channels_last)


def _pixels(image: Image.Image) -> Tensor:
    """The middle square at the teacher's size, from -1 to 1."""
    import numpy as np

    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    square = image.convert("RGB").resize(
        (TEACHER_SIDE, TEACHER_SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).float().div_(127.5).sub_(1.0)
