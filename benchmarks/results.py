"""Every method on real data, several seeds, beside simple alternatives and transformers' Trainer.

UNFREEZE_REAL_DATA=… python benchmarks/results.py run [set …]   adds what is missing to benchmarks/results.jsonl
python benchmarks/results.py write                              makes docs/results.md from it
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sets import SETS

import unfreeze
from unfreeze.planning import make_plan

HERE = Path(__file__).parent
RECORDS = HERE / "results.jsonl"
PAGE = HERE.parent / "docs" / "results.md"
SEEDS = (0, 1, 2)
METHODS = (
    "head",
    "last:2",
    "all-but-first:1",
    "full",
    "gradual",
    "gradual-on-plateau",
    "lp-ft",
    "chain-thaw",
    "scratch",
)
TRAINER = ("full, by Trainer",)


def run(names: list[str]) -> None:
    """Run what is not recorded yet, seed by seed, so that a stopped run has whole rows for the first seeds."""
    done = {(record["set"], record["method"], record["seed"]) for record in records()}
    for seed in SEEDS:
        for name in names:
            methods = (*METHODS, *TRAINER) if SETS[name].model["model"] == "all-MiniLM-L6-v2" else METHODS
            for method in methods:
                if (name, method, seed) not in done:
                    measure = with_trainer if method in TRAINER else with_unfreeze
                    record = {"set": name, "method": method, "seed": seed, **measure(name, method, seed)}
                    with RECORDS.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    print(name, method, seed, f"{record['test']:.4f}", f"{record['seconds']:.0f} s", flush=True)


def with_unfreeze(name: str, method: str, seed: int) -> dict[str, Any]:
    """One run of `unfreeze.fit` with its defaults."""
    with tempfile.TemporaryDirectory() as folder:
        result = unfreeze.fit(**SETS[name].options(seed), method=method, output=f"{folder}/run", gate="inline").result
    accuracy = result["test"]["accuracy"]
    return {
        "test": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "validation": result["validation"]["accuracy"]["value"],
        "majority": result["baseline"]["test"]["accuracy"]["value"],
        "learned": result["learned_parameters"] / result["parameters"],
        "seconds": result["train_seconds"],
        "notes": result["notes"],
    }


def with_trainer(name: str, method: str, seed: int) -> dict[str, Any]:
    """transformers' Trainer on the same rows, epochs, batches, schedule, warm-up, decay and precision.
    Its head gets the rate that unfreeze's head has. The best epoch on validation is kept, as unfreeze does.
    """
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

    from unfreeze.api import recipe_of
    from unfreeze.models.embedded import minilm_folder

    options = SETS[name].options(seed)
    recipe, objects = recipe_of(options.pop("data"), options.pop("model"), None, {**options, "method": "full"})
    plan = make_plan(recipe, objects)
    training = plan.recipe.training
    labels = {label: index for index, label in enumerate(plan.manifest.labels)}
    tokenizer = plan.pretrained.preprocess.tokenizer  # type: ignore[attr-defined]

    def rows(split: str) -> list[dict[str, Any]]:
        examples = plan.prepared.splits[split]  # type: ignore[index]
        encoded = tokenizer(list(examples.inputs), truncation=True, max_length=plan.recipe.model.max_length)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": labels[str(target)]}
            for ids, mask, target in zip(encoded["input_ids"], encoded["attention_mask"], examples.targets, strict=True)
        ]

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(minilm_folder(), num_labels=len(labels))
    head = [p for n, p in model.named_parameters() if n.startswith("classifier")]
    rest = [p for n, p in model.named_parameters() if not n.startswith("classifier")]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "lr": training.lr}, {"params": head, "lr": training.head_lr}],
        weight_decay=training.weight_decay,
    )
    steps = plan.steps_per_epoch * int(training.epochs or 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _linear(steps, int(training.warmup * steps)))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=int(training.epochs or 1),
                per_device_train_batch_size=training.batch_size or 32,
                per_device_eval_batch_size=64,
                bf16=training.precision == "bf16",
                use_cpu=True,
                seed=seed,
                report_to=[],
                eval_strategy="epoch",
                save_strategy="epoch",
                save_total_limit=1,
                load_best_model_at_end=True,
                metric_for_best_model="accuracy",
                disable_tqdm=True,
            ),
            train_dataset=rows("train"),
            eval_dataset=rows("validation"),
            processing_class=tokenizer,
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
            optimizers=(optimizer, schedule),
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
        validation = trainer.evaluate()["eval_accuracy"]
        test = trainer.evaluate(rows("test"))["eval_accuracy"]
    return {"test": test, "validation": validation, "learned": 1.0, "seconds": seconds, "notes": []}


def _linear(steps: int, rising: int) -> Any:
    return lambda step: (step + 1) / (rising + 1) if step < rising else max(0.0, (steps - step) / (steps - rising))


def records() -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []


def write() -> None:
    """docs/results.md from the records."""
    by_set: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in records():
        by_set[record["set"]][record["method"]].append(record)
    parts = [_head()]
    parts += [_table(name, by_set[name]) for name in SETS if name in by_set]
    parts.append((HERE / "results_reading.md").read_text() if (HERE / "results_reading.md").exists() else "")
    PAGE.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")


def _head() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "timm"))
    epochs = ", ".join(f"{name} {item.epochs}" for name, item in SETS.items())
    return f"""# Results on real data

Made by `python benchmarks/results.py run` and `… write` from `benchmarks/results.jsonl`; {packages},
Python {platform.python_version()}, CPU. Every method runs at its default settings, with the same epochs on a set
({epochs}). Test accuracy in percent: mean over seeds ± standard deviation; the last column says how many
seeds have been run. Seeds draw the new head, the order of rows and, for banking77, the rows themselves. The best
epoch is chosen on validation; the test split is read once. Images are read at 128 px without augmentation. `Trainer`
is transformers' own with `AutoModelForSequenceClassification` and the settings that unfreeze's `full` resolves to. The
records hold seconds too, but the machine did other work meanwhile, so they are not shown."""


def _table(name: str, methods: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        f"## {SETS[name].title}",
        "",
        "| method | test accuracy | validation | learns | seeds |",
        "|---|---|---|---|---|",
    ]
    for method in (*METHODS, *TRAINER):
        found = methods.get(method, [])
        if found:
            lines.append(
                f"| {method} | {_spread(found, 'test')} | {_spread(found, 'validation')} | {found[0]['learned']:.1%} "
                f"| {len(found)} |"
            )
    majority = next((r["majority"] for rs in methods.values() for r in rs if "majority" in r), None)
    if majority is not None:
        lines.append(f"| majority class | {100 * majority:.1f} | | 0.0% | |")
    said = sorted({note.split(": ", 1)[-1] for rs in methods.values() for r in rs for note in r["notes"]})
    if said:
        lines += ["", "Said by some of the runs: " + "; ".join(said) + "."]
    return "\n".join(lines)


def _spread(found: list[dict[str, Any]], key: str) -> str:
    values = [100 * record[key] for record in found]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write()
    elif sys.argv[1:2] == ["run"]:
        run(sys.argv[2:] or list(SETS))
    else:
        print(__doc__)
        sys.exit(2)
