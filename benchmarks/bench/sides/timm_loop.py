"""A loop put together from timm's own parts, as its train.py does it."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.data.loader import create_loader
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.scheduler_factory import create_scheduler_v2
from timm.utils.metrics import accuracy
from timm.utils.model import freeze
from torch import nn

from bench.jobs import WARMUP, WEIGHT_DECAY
from bench.sides import _image
from bench.sides._text import device, learning
from bench.work import Told, Work

DEFAULT_WORKERS = 4


def run(work: Work) -> Told:
    """Train and score."""
    job, told = work.job, Told(batch=work.job.batch, rates=work.job.model.rates)
    torch.manual_seed(work.seed)
    with told.timed("reading"):
        loaders = {split: _loader(work, split) for split in work.splits}
    with told.timed("loading"):
        model = _network(work)
    told.trainable = learning(model)
    optimizer = create_optimizer_v2(_image.rate_groups(model, work), opt="adamw", weight_decay=WEIGHT_DECAY)
    updates = len(loaders["train"])
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=job.epochs,
        warmup_epochs=WARMUP * job.epochs,  # type: ignore[arg-type]
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    loss, seen = nn.CrossEntropyLoss(), 0
    with told.timed("training"):
        for epoch in range(job.epochs):
            model.train()
            for number, (pixels, labels) in enumerate(loaders["train"]):
                with _arithmetic(work):
                    value = loss(model(_laid_out(pixels, work)), labels)
                value.backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step_update(num_updates=epoch * updates + number + 1)
                seen += len(labels)
    with told.timed("scoring"):
        told.validation, told.test = (_score(model, loaders[split], work) for split in ("validation", "test"))
    told.rows, told.epochs = seen // job.epochs, job.epochs
    told.train_seconds = told.parts["training"]
    return told


def _network(work: Work) -> Any:
    model: Any = _image.network(work)
    if work.best:
        model = model.to(memory_format=torch.channels_last)
    _image.let_learn(model, work)
    if work.best and work.job.top is not None:
        last, head = _image.top_modules(model, work)
        learns = {id(module) for module in ([head] if work.job.top == 1 else [head, *last])}
        freeze(model, [name for name, child in _below(model, learns)], include_bn_running_stats=True)
    return model.to(device())


def _below(module: nn.Module, learns: set[int], prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The outermost modules that hold nothing that learns."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        inner = {id(part) for part in child.modules()}
        if id(child) in learns:
            continue
        if inner & learns:
            found += _below(child, learns, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            found.append((f"{prefix}{name}", child))
    return found


def _loader(work: Work, split: str) -> Any:
    training = split == "train"
    return create_loader(
        _image.Photos(work.splits[split], work.labels),  # type: ignore[arg-type]
        input_size=(3, _image.SIZE, _image.SIZE),
        batch_size=work.job.batch,
        num_workers=(os.cpu_count() or 1) if work.best else DEFAULT_WORKERS,
        device=device(),
        pin_memory=device().type == "cuda",
        **_image.transform_options(work, training),
        **_image.pixels(work),
    )


def _laid_out(pixels: torch.Tensor, work: Work) -> torch.Tensor:
    return pixels.contiguous(memory_format=torch.channels_last) if work.best else pixels


def _arithmetic(work: Work) -> AbstractContextManager[Any]:
    return torch.autocast(device().type, dtype=torch.bfloat16) if work.best and work.bf16 else nullcontext()


@torch.inference_mode()
def _score(model: nn.Module, loader: Any, work: Work) -> float:
    model.eval()
    right, rows = 0.0, 0
    for pixels, labels in loader:
        with _arithmetic(work):
            outputs = model(_laid_out(pixels, work))
        right += float(accuracy(outputs.float(), labels, topk=(1,))[0]) / 100 * len(labels)
        rows += len(labels)
    return right / rows
