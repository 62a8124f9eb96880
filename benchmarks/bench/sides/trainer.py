"""transformers' Trainer: as it is by default, and with its best documented settings."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

from bench.jobs import WARMUP, Job
from bench.sides._text import (
    Pooled,
    encoded,
    groups,
    learning,
    let_learn,
    pooler_size,
    rate_groups,
    saved,
)
from bench.work import Told, Work
from unfreeze.models.embedded import minilm_folder


class Thaw(TrainerCallback):  # type: ignore[misc]
    """Gradual unfreezing as it is done by hand: with each epoch one more group from the top learns.

    With fewer epochs than groups several thaw at once, so that all learn in the last epoch, as unfreeze has it.
    """

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        lower = len(groups(more["model"])) - 1
        step, steps = round(state.epoch or 0), int(args.num_train_epochs)
        let_learn(more["model"], top=1 + round(step * lower / (steps - 1)))


def run(work: Work) -> Told:
    """Train and score validation and test, or only score."""
    return _use(work) if work.job.data == "prediction" else _train(work)


def _train(work: Work) -> Told:
    job, told = work.job, Told(batch=work.job.batch)
    set_seed(work.seed)
    with told.timed("reading"):
        tokenizer = AutoTokenizer.from_pretrained(work.place)
        rows: Any = {split: encoded(tokenizer, found, work.labels) for split, found in work.splits.items()}
    with told.timed("loading"):
        model = _model(work)
        let_learn(model, None if job.gradual else job.top)
    settings = _settings(work, num_train_epochs=job.epochs, per_device_train_batch_size=job.batch, seed=work.seed)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=rows["train"],
        processing_class=tokenizer,
        compute_metrics=accuracy,
        callbacks=[Thaw()] if job.gradual else [],
        **_own_optimizer(work, model, len(rows["train"])),
    )
    with told.timed("training"):
        done = trainer.train()
    with told.timed("scoring"):
        told.validation = trainer.evaluate(rows["validation"])["eval_accuracy"]
        told.test = trainer.evaluate(rows["test"])["eval_accuracy"]
    told.rows, told.epochs = len(rows["train"]), done.metrics["epoch"]
    told.extra = pooler_size(model)
    told.trainable = learning(model) - told.extra
    told.train_seconds = told.parts["training"]
    told.rates = job.model.rates if work.best else (trainer.args.learning_rate, trainer.args.learning_rate)
    return told


def _model(work: Work) -> Any:
    if work.best:
        return Pooled(work.place, len(work.labels))
    return AutoModelForSequenceClassification.from_pretrained(work.place, num_labels=len(work.labels))


def _settings(work: Work, **more: Any) -> dict[str, Any]:
    """Arguments of TrainingArguments: quiet, and the best ones if asked for."""
    quiet = {"output_dir": str(work.folder), "report_to": "none", "disable_tqdm": True}
    if not work.best:
        return {**quiet, **more}
    best = {
        "bf16": work.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "train_sampling_strategy": "group_by_length",
        "per_device_eval_batch_size": 64,
        "save_strategy": "no",
        "logging_strategy": "no",
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    return {**quiet, **best, **more}


def _own_optimizer(work: Work, model: Any, rows: int) -> dict[str, Any]:
    """With the best settings, unfreeze's rates by group; else the Trainer makes its own."""
    if not work.best:
        return {}
    return {"optimizers": linear(rate_groups(model, work), rows, work.job, WARMUP)}


def linear(groups: list[dict[str, Any]], rows: int, job: Job, warmup: float) -> tuple[Any, Any]:
    """Fused AdamW over the groups, and a linear schedule with warm-up."""
    steps = -(-rows // job.batch) * job.epochs
    optimizer = torch.optim.AdamW(groups, fused=True)
    return optimizer, get_linear_schedule_with_warmup(optimizer, int(warmup * steps), steps)


def accuracy(predicted: Any) -> dict[str, float]:
    """Share of rows whose highest output is the label's."""
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def _use(work: Work) -> Told:
    """Score texts with a model that is there."""
    model, labels = saved(work)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    rows: Any = encoded(tokenizer, work.splits["test"], labels)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**_settings(work)),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    if work.job.method == "evaluate":
        return Told(rows=len(rows), test=trainer.evaluate(rows)["eval_accuracy"])
    return Told(rows=len(rows), test=(trainer.predict(rows).metrics or {})["test_accuracy"])
