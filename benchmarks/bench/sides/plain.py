"""The loop that courses show, for texts (Hugging Face's course, chapter 3) and images (PyTorch's transfer learning)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, DataCollatorWithPadding, get_linear_schedule_with_warmup

from bench.jobs import WARMUP
from bench.sides import _image, _text
from bench.work import Told, Work
from unfreeze.models.embedded import minilm_folder

Forward = Callable[[Any], tuple[Tensor, Tensor]]
"""A batch to outputs and labels."""


def run(work: Work) -> Told:
    """Train and score, or only score."""
    if work.job.data == "prediction":
        return _use(work)
    return _images(work) if work.job.data == "flowers" else _texts(work)


def _texts(work: Work) -> Told:
    job, told = work.job, Told(batch=work.job.batch, rates=work.job.model.rates)
    torch.manual_seed(work.seed)
    with told.timed("reading"):
        tokenizer = AutoTokenizer.from_pretrained(work.place)
        loaders = {
            split: _padded(tokenizer, rows, work.labels, job.batch, shuffle=split == "train")
            for split, rows in work.splits.items()
        }
    with told.timed("loading"):
        model = _text.Pooled(work.place, len(work.labels)).to(_text.device())
        _text.let_learn(model, job.top)
    optimizer = torch.optim.AdamW(_text.rate_groups(model, work))
    told.trainable = _text.learning(model)
    return learn_and_score(work, told, model, optimizer, loaders, partial(_forward, model))


def _forward(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
    batch = {name: tensor.to(_text.device()) for name, tensor in batch.items()}
    labels = batch.pop("labels")
    return model(**batch)["logits"], labels


def _images(work: Work) -> Told:
    job, told = work.job, Told(batch=work.job.batch, rates=work.job.model.rates)
    torch.manual_seed(work.seed)
    with told.timed("reading"):
        loaders = {
            split: DataLoader(
                _image.Photos(rows, work.labels, _image.transform(work, training=split == "train")),
                batch_size=job.batch,
                shuffle=split == "train",
                num_workers=2,
            )
            for split, rows in work.splits.items()
        }
    with told.timed("loading"):
        model = _image.network(work).to(_text.device())
        _image.let_learn(model, work)
    optimizer = torch.optim.AdamW(_image.rate_groups(model, work))

    def forward(batch: Any) -> tuple[Tensor, Tensor]:
        pixels, labels = batch
        return model(pixels.to(_text.device())), labels.to(_text.device())

    told.trainable = _text.learning(model)
    return learn_and_score(work, told, model, optimizer, loaders, forward)


def learn_and_score(
    work: Work,
    told: Told,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loaders: dict[str, Any],
    forward: Forward,
) -> Told:
    """The loop itself; `rows` and `epochs` are counted, not assumed."""
    steps = len(loaders["train"]) * work.job.epochs
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * steps), steps)
    seen = 0
    with told.timed("training"):
        for _ in range(work.job.epochs):
            model.train()
            for batch in loaders["train"]:
                outputs, labels = forward(batch)
                loss = nn.functional.cross_entropy(outputs, labels)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                seen += len(labels)
    with told.timed("scoring"):
        told.validation = accuracy(model, loaders["validation"], forward)
        told.test = accuracy(model, loaders["test"], forward)
    told.rows, told.epochs = seen // work.job.epochs, work.job.epochs
    told.train_seconds = told.parts["training"]
    return told


@torch.no_grad()
def accuracy(model: nn.Module, batches: Iterable[Any], forward: Forward) -> float:
    """Share of rows whose highest output is the label's."""
    model.eval()
    pairs = [(outputs.argmax(-1) == labels) for outputs, labels in map(forward, batches)]
    return float(torch.cat(pairs).float().mean())


def _padded(tokenizer: Any, rows: Any, labels: list[str], batch: int, shuffle: bool = False) -> Any:
    return DataLoader(
        _text.encoded(tokenizer, rows, labels),  # type: ignore[arg-type]
        batch_size=batch,
        shuffle=shuffle,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )


def _use(work: Work) -> Told:
    model, labels = _text.saved(work)
    model.to(_text.device())
    rows = _padded(AutoTokenizer.from_pretrained(minilm_folder()), work.splits["test"], labels, work.job.batch)

    return Told(rows=len(rows.dataset), test=accuracy(model, rows, partial(_forward, model)))
