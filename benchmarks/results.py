"""Every method on real data, several seeds, beside simple alternatives and transformers' Trainer.

UNFREEZE_REAL_DATA=… python benchmarks/results.py run [set …] [--method NAME …] [--seed N …] [--again]
    adds what is missing to benchmarks/results.jsonl, each run in a process of its own
python benchmarks/results.py write
    makes docs/results.md from it
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import measure
from results_page import METHODS, NOT_FOR_IMAGES, RECORDS, TRAINER, records, write
from sets import MOBILENET, SETS

SEEDS = (0, 1, 2)
HOUR = 3600.0
NOT_FOR: dict[str, tuple[str, ...]] = {str(MOBILENET["model"]): (*NOT_FOR_IMAGES, *TRAINER)}
"""Methods that refuse a model, or that are not measured with it."""


def run(names: list[str], methods: list[str], seeds: list[int], again: bool) -> None:
    """Run what is not recorded yet, seed by seed, so that a stopped run has whole rows for the first seeds."""
    done = set() if again else {(r["set"], r["method"], r["seed"]) for r in records() if "peak" in r}
    for seed in seeds:
        for name in names:
            for method in methods:
                left_out = method in NOT_FOR.get(SETS[name].model["model"], ())
                if not left_out and (name, method, seed) not in done:
                    record = in_process(name, method, seed)
                    with RECORDS.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    print(name, method, seed, f"{record['test']:.4f}", f"{record['processor']:.0f} s", flush=True)


def in_process(name: str, method: str, seed: int) -> dict[str, Any]:
    """One run in a fresh process, of which the memory is measured."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "out.json"), Path(folder, "log")
        command = [sys.executable, __file__, "one", name, method, str(seed), str(out)]
        took = measure(command, env=os.environ, log=log, timeout=HOUR)
        if took.returncode:
            raise SystemExit(f"{name}, {method}, seed {seed}: {log.read_text()[-2000:]}")
        return {**json.loads(out.read_text()), "peak": took.own_peak, "commit": commit()}


def commit() -> str:
    """The project's commit, with a plus sign when its source differs from it."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "../src"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def one(name: str, method: str, seed: int, out: Path) -> None:
    """The process of one run."""
    taken = (with_trainer if method in TRAINER else with_unfreeze)(name, method, seed)
    out.write_text(json.dumps({"set": name, "method": method, "seed": seed, **taken}))


def with_unfreeze(name: str, method: str, seed: int) -> dict[str, Any]:
    """One run of `unfreeze.fit` with its defaults; no report, and no second process, whose time is the same for all."""
    import torch

    import unfreeze

    aside = {"gate": "inline", "evaluation__report": False}
    with tempfile.TemporaryDirectory() as folder:
        run = unfreeze.fit(**SETS[name].options(seed), method=method, output=f"{folder}/run", **aside)
        result, disk = run.result, sum(file.stat().st_size for file in (run.path / "model").rglob("*"))
    accuracy = result["test"]["accuracy"]
    return {
        "test": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "validation": result["validation"]["accuracy"]["value"],
        "majority": result["baseline"]["test"]["accuracy"]["value"],
        "learned": result["learned_parameters"] / result["parameters"],
        "seconds": result["train_seconds"],
        "processor": result["cost"]["processor_seconds"],
        "disk": disk,
        "threads": torch.get_num_threads(),
        "notes": result["notes"],
    }


def with_trainer(name: str, method: str, seed: int) -> dict[str, Any]:
    """transformers' Trainer on the same rows, epochs, batches, schedule, warm-up, decay and precision.
    Its head gets the rate that unfreeze's head has. The best epoch on validation is kept, as unfreeze does.
    """
    import torch

    from unfreeze.api import recipe_of
    from unfreeze.models.embedded import minilm_folder
    from unfreeze.planning import make_plan

    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments  # isort: skip

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
        started, processor = time.perf_counter(), time.process_time()
        trainer.train()
        seconds = time.perf_counter() - started
        validation = trainer.evaluate()["eval_accuracy"]
        test = trainer.evaluate(rows("test"))["eval_accuracy"]
        trainer.save_model(f"{folder}/saved")
        disk = sum(file.stat().st_size for file in Path(folder, "saved").rglob("*"))
        processor = time.process_time() - processor
    measured = {"processor": processor, "disk": disk, "threads": torch.get_num_threads()}
    return {"test": test, "validation": validation, "learned": 1.0, "seconds": seconds, "notes": [], **measured}


def _linear(steps: int, rising: int) -> Any:
    return lambda step: (step + 1) / (rising + 1) if step < rising else max(0.0, (steps - step) / (steps - rising))


def main() -> None:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    asked = what.add_parser("run")
    asked.add_argument("sets", nargs="*", metavar="set", help=", ".join(SETS))
    asked.add_argument("--method", action="append", default=[], choices=(*METHODS, *TRAINER))
    asked.add_argument("--seed", action="append", default=[], type=int)
    asked.add_argument("--again", action="store_true", help="also what is recorded; the newest record counts")
    single = what.add_parser("one")
    for argument in ("set", "method", "seed", "out"):
        single.add_argument(argument)
    what.add_parser("write")
    wish = parser.parse_args()
    if wish.what == "run":
        run(wish.sets or list(SETS), wish.method or [*METHODS, *TRAINER], wish.seed or list(SEEDS), wish.again)
    elif wish.what == "one":
        one(wish.set, wish.method, int(wish.seed), Path(wish.out))
    else:
        write()


if __name__ == "__main__":
    main()
