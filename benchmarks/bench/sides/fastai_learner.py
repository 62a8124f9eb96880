"""fastai's Learner with its own data blocks, freeze and fit_one_cycle."""

from __future__ import annotations

from typing import Any

from fastai.vision.all import (
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Learner,
    Normalize,
    RandomResizedCrop,
    Resize,
    accuracy,
    set_seed,
)

from bench.sides import _image
from bench.sides._text import learning
from bench.work import Told, Work


def run(work: Work) -> Told:
    """Train and score."""
    job, told = work.job, Told(batch=work.job.batch, rates=work.job.model.rates)
    set_seed(work.seed)
    with told.timed("reading"):
        loaders = _loaders(work)
    with told.timed("loading"):
        model = _image.network(work)
        learner = Learner(
            loaders,
            model,
            loss_func=CrossEntropyLossFlat(),
            metrics=accuracy,
            splitter=lambda network: _parts(network, work),
            train_bn=False,
            path=work.folder,
        )
        learner.remove_cbs(learner.progress) if hasattr(learner, "progress") else None
    parts = len(_parts(model, work))
    with told.timed("training"), learner.no_logging():
        if job.top is not None:
            learner.freeze_to(parts - (1 if job.top == 1 else 2))
        learner.fit_one_cycle(job.epochs, lr_max=_rates(parts, work))
    told.trainable = learning(model)
    with told.timed("scoring"), learner.no_logging():
        told.validation = float(learner.validate()[1])
        rows = range(len(_rows(work)))
        held = loaders.test_dl(list(rows[-len(work.splits["test"]) :]), with_labels=True)
        told.test = float(learner.validate(dl=held)[1])
    told.rows, told.epochs = len(loaders.train) * job.batch, job.epochs
    told.train_seconds = told.parts["training"]
    return told


def _loaders(work: Work) -> Any:
    """Of training and validation. Items are row numbers, since fastai would take a pair apart."""
    rows, pixels = _rows(work), _image.pixels(work)
    held = range(len(work.splits["train"]), len(rows) - len(work.splits["test"]))
    crop = RandomResizedCrop(_image.SIZE, min_scale=_image.CROP[0]) if work.job.augmented else Resize(_image.SIZE)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=work.labels)),
        get_x=lambda number: rows[number][0],
        get_y=lambda number: rows[number][1],
        splitter=IndexSplitter(list(held)),
        item_tfms=crop,
        batch_tfms=Normalize.from_stats(pixels["mean"], pixels["std"]),
    )
    return block.dataloaders(list(range(held.stop)), bs=work.job.batch)


def _rows(work: Work) -> list[tuple[Any, str]]:
    return [row for split in ("train", "validation", "test") for row in work.splits[split]]


def _parts(network: Any, work: Work) -> list[list[Any]]:
    """Parameter groups from the bottom: the rest, the last stage, the head."""
    last, head = _image.top_modules(network, work)
    top = [list(head.parameters())]
    if work.job.top != 1:
        top.insert(0, [parameter for module in last for parameter in module.parameters()])
    known = {id(parameter) for group in top for parameter in group}
    return [[parameter for parameter in network.parameters() if id(parameter) not in known], *top]


def _rates(parts: int, work: Work) -> list[float]:
    return [work.job.model.lr] * (parts - 1) + [work.job.model.head_lr]
