"""Small whole runs: a tiny BERT folder, a tiny ResNet, little tables and pictures. A fit takes a second."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import tiny_tokenizer
from torch import Tensor

import unfreeze
from unfreeze import _torchvision  # noqa: F401
from unfreeze.progress import Silent
from unfreeze.run import Run
from unfreeze.stack.cache import PROCESS_CACHE

LABELS = ("bank", "film", "weather")
CUES = {"bank": ("card", "bank", "money"), "film": ("movie", "actor", "scene"), "weather": ("rain", "sun", "wind")}
FILLER = ("the", "a", "is", "was", "good", "bad", "fine", "great", "poor", "again", "never", "always", "today", "very")
FILLER += ("quite", "old", "new", "little", "much", "other")

CNN_OPTIONS = {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 12], "stem_width": 4, "mean": [0.5] * 3, "std": [0.5] * 3}
BASE = {"evaluation__gate": "inline", "evaluation__bootstrap": 20, "evaluation__gate_rows": 6, "threads": 1}
BASE |= {"evaluation__report": False}  # what tells about a run is tested in its own place
BASE |= {"batch_size": 8, "precision": "float32", "lr": 3e-3, "head_lr": 1e-2}


def text_model(folder: Path, **changes: Any) -> Path:
    """A BERT of three blocks with random weights and a word-piece tokenizer, as a local folder."""
    from transformers import AutoConfig, AutoModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
    config = AutoConfig.for_model("bert", vocab_size=96, max_position_embeddings=64, **sizes, **changes)
    torch.manual_seed(3)
    AutoModel.from_config(config).save_pretrained(folder)
    tiny_tokenizer(config).save_pretrained(folder)
    return folder


def image_weights(path: Path) -> Path:
    """Weights of a tiny ResNet, with BatchNorm statistics that are not the initial ones."""
    import timm

    torch.manual_seed(5)
    options = {key: value for key, value in CNN_OPTIONS.items() if key not in ("mean", "std")}
    module = timm.create_model("resnet18", pretrained=False, **options).train()
    with torch.no_grad():
        module(torch.rand(8, 3, 32, 32))
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, path)
    return path


def sentences(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct sentences, each with the label that its cue word gives."""
    draw = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        label = LABELS[len(made) % len(LABELS)]
        words = [*draw.sample(FILLER, draw.randint(3, 9)), draw.choice(CUES[label])]
        draw.shuffle(words)
        made[" ".join(words)] = label
    return list(made.items())


def table(path: Path, train: int = 44, held_out: int = 18, seed: int = 0) -> Path:
    """A CSV file with text, label and split."""
    pairs = sentences(train + 2 * held_out, seed)
    splits = ["train"] * train + ["validation"] * held_out + ["test"] * held_out
    write_table(path, [(text, label, split) for (text, label), split in zip(pairs, splits, strict=True)])
    return path


def write_table(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label", "split"), *rows])


def read_table(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [(text, label, split) for text, label, split in list(csv.reader(file))[1:]]


def pictures(folder: Path, per_class: int = 14, side: int = 32, first: int = 0) -> Path:
    """Noisy pictures of two colours, in a folder for each."""
    for shift, label in ((0, "blue"), (90, "red")):
        (folder / label).mkdir(parents=True)
        for number in range(first, first + per_class):
            draw = torch.Generator().manual_seed(1000 * shift + number)
            pixels = torch.randint(0, 150, (side, side, 3), generator=draw)
            pixels[..., 0 if shift else 2] += 100
            Image.fromarray(pixels.numpy().astype("uint8")).save(folder / label / f"{number}.png")
    return folder


def fit_text(home: Path, output: Path, **options: Any) -> Run:
    """A whole run on the table of `home` (see the fixture `home`)."""
    options = {"method": "lp-ft", "epochs": 2, "target": "label", "split": "split", **BASE, **options}
    return unfreeze.fit(options.pop("data", home / "table.csv"), str(home / "bert"), output=output, **options)


def fit_images(home: Path, output: Path, **options: Any) -> Run:
    """A whole run of the tiny ResNet on the pictures of `home`."""
    model = {"model__options": CNN_OPTIONS, "model__weights": home / "cnn.safetensors", "model__image_size": 32}
    options = {"method": "head", "epochs": 2, **BASE, **model, **options}
    return unfreeze.fit(home / "pictures", "resnet18", output=output, **options)


def resume(path: Path, **options: Any) -> Run:
    """Resume as a new process would: without anything kept in memory."""
    PROCESS_CACHE.clear()
    return unfreeze.resume(path, **options)


def weights(run: Run | Path) -> dict[str, Tensor]:
    """The fine-tuned weights."""
    return load_file((run.path if isinstance(run, Run) else run) / "model" / "model.safetensors")


TIMES = ("seconds", "train_seconds", "finished", "notes", "cost")


def essence(path: Path) -> dict[str, Any]:
    """What two equal runs have in common: the hash of the weights, and everything measured but times."""
    result = json.loads((path / "result.json").read_text())
    digest = hashlib.sha256((path / "model" / "model.safetensors").read_bytes()).hexdigest()
    kept: Mapping[str, Any] = {key: value for key, value in result.items() if key not in TIMES}
    predictions = (path / "predictions.jsonl").read_text()
    return {"weights": digest, "predictions": predictions, **kept}


def tree_hashes(folder: Path) -> dict[str, str]:
    """sha256 and modification time of every file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}" for path in files}


def make_home(folder: Path) -> Path:
    """Everything that the runs above read."""
    folder.mkdir(parents=True, exist_ok=True)
    text_model(folder / "bert")
    image_weights(folder / "cnn.safetensors")
    table(folder / "table.csv")
    pictures(folder / "pictures")
    return folder


class Killed(BaseException):
    """Ends a run in the middle, as nothing that a run catches on purpose would."""


class KillAt(Silent):
    """Raises at the given update of this process, counted from 1."""

    def __init__(self, update: int) -> None:
        self.left = update

    def step(self, step: int, loss: float, lr: float) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
