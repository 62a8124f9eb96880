"""peft with transformers' Trainer at its best settings, and unfreeze's rates."""

from __future__ import annotations

from typing import Any

import peft
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

from bench.jobs import WARMUP, WEIGHT_DECAY
from bench.sides._text import Pooled, encoded, learning
from bench.sides.trainer import _settings, accuracy, linear
from bench.work import Told, Work

VIRTUAL = 20
RANK = 16


def run(work: Work) -> Told:
    """Train with an adapter, and score validation and test."""
    job, told = work.job, Told(batch=work.job.batch)
    set_seed(work.seed)
    with told.timed("reading"):
        tokenizer = AutoTokenizer.from_pretrained(work.place)
        rows: Any = {split: encoded(tokenizer, found, work.labels) for split, found in work.splits.items()}
    with told.timed("loading"):
        model = adapted(work)
    settings = _settings(work, num_train_epochs=job.epochs, per_device_train_batch_size=job.batch, seed=work.seed)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**{**settings, "label_names": ["labels"]}),
        train_dataset=rows["train"],
        processing_class=tokenizer,
        compute_metrics=accuracy,
        optimizers=linear(groups(model, job.model.head_lr, rate(work)), len(rows["train"]), job, WARMUP),
    )
    with told.timed("training"):
        done = trainer.train()
    with told.timed("scoring"):
        told.validation = trainer.evaluate(rows["validation"])["eval_accuracy"]
        told.test = trainer.evaluate(rows["test"])["eval_accuracy"]
    told.rows, told.epochs = len(rows["train"]), done.metrics["epoch"]
    told.trainable, told.train_seconds = learning(model), told.parts["training"]
    told.rates = (rate(work), job.model.head_lr)
    return told


def adapted(work: Work) -> Any:
    """The model with peft's adapter: inside the encoder, or around a classifier where peft adds virtual tokens."""
    method = work.job.method
    if method in ("lora", "ia3"):
        model: Any = Pooled(work.place, len(work.labels))
        model.backbone = peft.get_peft_model(model.backbone, inside(method))
        return model
    around = {"prefix": peft.PrefixTuningConfig, "prompt": peft.PromptTuningConfig}[method]
    classifier = AutoModelForSequenceClassification.from_pretrained(work.place, num_labels=len(work.labels))
    return peft.get_peft_model(classifier, around(task_type="SEQ_CLS", num_virtual_tokens=VIRTUAL))


def inside(method: str) -> Any:
    """Of what unfreeze adds by default: rank 16 on every linear layer; scales on keys, values and the wide layer."""
    if method == "lora":
        return peft.LoraConfig(r=RANK, lora_alpha=RANK, lora_dropout=0.0, target_modules="all-linear")
    wide = [r".*layer\.\d+\.output\.dense"]
    return peft.IA3Config(target_modules=rf".*(key|value)|{wide[0]}", feedforward_modules=wide[0])


def rate(work: Work) -> float:
    """What unfreeze resolves to for what is added."""
    from unfreeze.methods import METHODS

    method = METHODS.get(work.job.method)
    return method.own_rate if method.own_rate is not None else method.rate * work.job.model.lr


def groups(model: Any, head: float, added: float) -> list[dict[str, Any]]:
    """The optimizer's groups: the new head's rate, and that of what was added."""
    learns = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    of_head = {name for name, _ in learns if name.startswith("head.") or "classifier" in name}
    return [
        {"params": [p for name, p in learns if (name in of_head) is is_head], "lr": lr, "weight_decay": WEIGHT_DECAY}
        for is_head, lr in ((True, head), (False, added))
    ]
