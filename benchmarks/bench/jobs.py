"""The jobs: which model learns what from which rows, for how long, and by whom. Nothing here imports torch.

Row counts are multiples of the batch, since some peers' loaders drop what is left over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sets import MOBILENET

Data = Literal["text", "flowers", "generated", "prediction"]

WARMUP, WEIGHT_DECAY = 0.1, 0.01
"""What unfreeze resolves to; peers whose settings are ours to choose get the same."""


@dataclass(frozen=True)
class Model:
    """A pre-trained model with the rates at which both sides train it, and where its last stage begins.

    `lr` and `head_lr` are what unfreeze resolves to by default (a test compares them); `last` are the names of the
    modules below the head that learn in the jobs "last"; `options` are unfreeze.fit's. One that is `made_here` has
    random weights: a timm network, or a transformers model of this `config`.
    """

    name: str
    lr: float
    last: tuple[str, ...]
    head_lr: float = 1e-2
    options: Mapping[str, Any] = field(default_factory=dict)
    made_here: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rates(self) -> tuple[float, float]:
        """Of the pre-trained layers and of the head."""
        return self.lr, self.head_lr


MINILM = Model("all-MiniLM-L6-v2", 5e-5, ("encoder.layer.4", "encoder.layer.5"))
MOBILENETV2 = Model(
    "mobilenetv2_100",
    3e-4,
    ("blocks.6", "conv_head", "bn2"),
    options={key: MOBILENET[key] for key in ("weights", "model__options")},
)
RESNET18 = Model("resnet18", 1e-4, ("layer4",), made_here=True)
RESNET50 = Model("resnet50", 1e-4, ("layer4",), made_here=True)
BERT_BASE = Model(
    "bert-base",
    1e-5,
    ("encoder.layer.10", "encoder.layer.11"),
    made_here=True,
    config={"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
)
DECODER_1B = Model(
    "decoder-1b",
    2e-5,
    ("layers.14", "layers.15"),
    made_here=True,
    config={
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 4096,
        "pad_token_id": 0,
    },
)


@dataclass(frozen=True)
class Job:
    """One line of the comparison.

    Parameters
    ----------
    key : str
        Begins with the number of the part: `make bench PARTS="1 4"`.
    method : str
        unfreeze's; its default settings otherwise. "sweep" is unfreeze.sweep, and "evaluate" and "predict" are a run's.
    top : int or None
        How many of the topmost layer groups learn; None: all.
    rows, validation, test : int
        `validation` and `test` are scored once at the end by every side.
    peers : tuple of str
        Keys in `bench.sides.SIDES`.
    needs : str or None
        A public name of unfreeze without which the job is skipped.
    most_runs : int or None
        Fewer than asked for where a run is long.
    only_full : bool
        Left out unless it is asked for.
    gpu : bool
        Too large for a machine without one.
    """

    key: str
    title: str
    data: Data
    model: Model
    method: str
    top: int | None
    epochs: int
    rows: int
    peers: tuple[str, ...]
    validation: int = 1000
    test: int = 1000
    batch: int = 32
    gradual: bool = False
    needs: str | None = None
    most_runs: int | None = None
    only_full: bool = False
    gpu: bool = False

    @property
    def part(self) -> str:
        """The number that PARTS selects by."""
        return re.match(r"\d+", self.key)[0]  # type: ignore[index]

    @property
    def augmented(self) -> bool:
        """Whether training images are cropped at random: where all layers learn, as unfreeze does by default.

        With part of the layers frozen no side crops, so that what is compared is the work below the frontier.
        """
        return self.data == "flowers" and self.top is None


TEXT_PEERS = ("trainer", "trainer-best", "plain")
IMAGE_PEERS = ("timm", "timm-best", "fastai", "plain")
PHOTOS: dict[str, Any] = {"data": "flowers", "rows": 736, "validation": 200, "test": 300, "peers": IMAGE_PEERS}
TRAINER = TEXT_PEERS[:2]
BERT: dict[str, Any] = {"data": "text", "model": BERT_BASE, "rows": 4992, "gpu": True}
DECODER: dict[str, Any] = {**BERT, "model": DECODER_1B, "peers": ("peft",)}
GROWTH: dict[str, Any] = {
    "data": "generated",
    "model": MINILM,
    "method": "head",
    "top": 1,
    "epochs": 3,
    "validation": 512,
    "test": 512,
}


def _photos(suffix: str, model: Model, what: str, top: int = 3) -> tuple[Job, ...]:
    return (
        Job(f"4{suffix}", f"head on photos, {what}", model=model, method="head", top=1, epochs=10, **PHOTOS),
        Job(
            f"5{suffix}",
            f"last stage on photos, {what}",
            model=model,
            method=f"last:{top}",
            top=top,
            epochs=5,
            **PHOTOS,
        ),
        Job(f"6{suffix}", f"full on photos, {what}", model=model, method="full", top=None, epochs=2, **PHOTOS),
    )


JOBS: tuple[Job, ...] = (
    Job("1", "head on text", "text", MINILM, "head", 1, 10, 1920, (*TEXT_PEERS, "sbert", "setfit")),
    Job("2", "last two blocks of six on text", "text", MINILM, "last:3", 3, 5, 1920, TEXT_PEERS),
    Job("3", "full on text", "text", MINILM, "full", None, 3, 1920, TEXT_PEERS),
    *_photos("", MOBILENETV2, "MobileNet-v2 (ImageNet)"),
    *_photos("r", RESNET18, "ResNet-18 (random weights)"),
    Job("7", "gradual unfreezing of text", "text", MINILM, "gradual", None, 8, 1152, TRAINER, gradual=True),
    Job("8", "search over 32 heads", "text", MINILM, "sweep", 1, 10, 1920, ("one", "sbert"), needs="sweep"),
    Job("9e", "evaluation of 10,000 texts", "prediction", MINILM, "evaluate", 1, 1, 10_000, TRAINER),
    Job("9p", "prediction of 10,000 texts", "prediction", MINILM, "predict", 1, 1, 10_000, (*TEXT_PEERS, "sbert")),
    Job("11l", "LoRA on text", "text", MINILM, "lora", None, 3, 1920, ("peft",)),
    Job("11i", "IA3 on text", "text", MINILM, "ia3", None, 3, 1920, ("peft",)),
    Job("11x", "prefix tuning on text", "text", MINILM, "prefix", None, 3, 1920, ("peft",)),
    Job("11p", "prompt tuning on text", "text", MINILM, "prompt", None, 3, 1920, ("peft",)),
    Job("12h", "head on BERT-base (random weights)", method="head", top=1, epochs=10, peers=TRAINER, **BERT),
    Job("12f", "full on BERT-base (random weights)", method="full", top=None, epochs=3, peers=TRAINER, **BERT),
    Job("12l", "LoRA on BERT-base (random weights)", method="lora", top=None, epochs=3, peers=("peft",), **BERT),
    Job("12d", "LoRA on a decoder of 1.1 billion (random weights)", method="lora", top=None, epochs=1, **DECODER),
    *(replace(job, gpu=True) for job in _photos("g", RESNET50, "ResNet-50 (random weights)", top=4)),
    Job("10-1k", "growth: 1,000 rows", rows=992, peers=("trainer-best", "sbert"), **GROWTH),
    Job("10-10k", "growth: 10,000 rows", rows=9984, peers=("trainer-best", "sbert"), **GROWTH),
    Job("10-100k", "growth: 100,000 rows", rows=100_000, peers=("sbert",), most_runs=1, **GROWTH),
    Job("10-1m", "growth: 1,000,000 rows", rows=1_000_000, peers=("sbert",), most_runs=1, only_full=True, **GROWTH),
)

QUICK_ROWS, QUICK_HELD_OUT, QUICK_EPOCHS = 64, 32, 2
QUICK_GROWTH = {"10-1k": 64, "10-10k": 128, "10-100k": 192, "10-1m": 256}


def chosen(parts: list[str], *, full: bool = False, quick: bool = False, rows: int | None = None) -> list[Job]:
    """The jobs of some parts (all if none are named) in the sizes asked for.

    Raises
    ------
    ValueError
        If a part does not exist.
    """
    known = {job.part for job in JOBS} | {job.key for job in JOBS}
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise ValueError(f"there is no part {', '.join(unknown)}; there are: {', '.join(job.key for job in JOBS)}")
    jobs = [job for job in JOBS if not parts or job.part in parts or job.key in parts]
    return [sized(job, quick=quick, rows=rows) for job in jobs if full or quick or not job.only_full]


def sized(job: Job, *, quick: bool = False, rows: int | None = None) -> Job:
    """A job with fewer or more rows; quick: tiny, only to see that everything runs."""
    if quick:
        tiny = QUICK_GROWTH.get(job.key, QUICK_ROWS)
        epochs = min(job.epochs, QUICK_EPOCHS + job.gradual)
        return replace(job, rows=tiny, validation=QUICK_HELD_OUT, test=QUICK_HELD_OUT, epochs=epochs)
    if rows is None or job.data not in ("text", "flowers"):
        return job
    if job.data == "flowers":
        return replace(job, rows=min(job.rows, whole(rows)))
    held_out = min(job.validation, max(QUICK_HELD_OUT, rows // 2))
    return replace(job, rows=whole(rows), validation=held_out, test=held_out)


def whole(rows: int, batch: int = 32) -> int:
    """The next lower multiple of the batch, at least two batches."""
    return max(2 * batch, rows - rows % batch)
