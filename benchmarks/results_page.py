"""docs/results.md from the records of results.py and method_rates.py."""

from __future__ import annotations

import json
import platform
import statistics
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sets import SETS

HERE = Path(__file__).parent
RECORDS = HERE / "results.jsonl"
RATES = HERE / "method_rates.jsonl"
PAGE = HERE.parent / "docs" / "results.md"
PARTIAL = (
    "head",
    "last:2",
    "all-but-first:1",
    "full",
    "gradual",
    "gradual-on-plateau",
    "lp-ft",
    "chain-thaw",
    "wise-ft",
    "scratch",
)
EFFICIENT = ("lora", "qlora", "adapter", "prefix", "prompt", "ia3", "bitfit", "norm-only")
EFFICIENT_ON = ("banking77", "movies", "products", "flowers5")
NOT_FOR_IMAGES = ("prefix", "prompt", "qlora")
METHODS = (*PARTIAL, *EFFICIENT)
TRAINER = ("full, by Trainer",)
ORDER = ("full", *EFFICIENT, "head", *(method for method in PARTIAL if method not in ("full", "head")), *TRAINER)
MB = 1e6


def records() -> list[dict[str, Any]]:
    """What has been measured so far; of a set, method and seed the newest."""
    if not RECORDS.exists():
        return []
    found = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    return list({(record["set"], record["method"], record["seed"]): record for record in found}.values())


def write() -> None:
    """Replace docs/results.md."""
    by_set: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in records():
        by_set[record["set"]][record["method"]].append(record)
    parts = [_head()]
    parts += [_table(name, by_set[name]) for name in SETS if name in by_set]
    parts.append(_aims(by_set))
    parts.append(_rates())
    parts.append((HERE / "results_reading.md").read_text())
    PAGE.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")


def _head() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "timm", "peft"))
    epochs = ", ".join(f"{name} {item.epochs}" for name, item in SETS.items())
    return f"""# Results on real data

Made by `python benchmarks/results.py run` and `… write` from `benchmarks/results.jsonl`; {packages},
Python {platform.python_version()}, CPU. Every method runs at its default settings, with the same epochs on a set
({epochs}). Test accuracy in percent: mean over seeds ± standard deviation; the last column says how many
seeds have been run. Seeds draw the new head, the order of rows and, for banking77, the rows themselves. The best
epoch is chosen on validation; the test split is read once. Images are read at 128 px without augmentation. `Trainer`
is transformers' own with `AutoModelForSequenceClassification` and the settings that unfreeze's `full` resolves to.

- **learns**: share of the model's parameters, the head's among them.
- **time**: processor seconds of the whole `fit`, reading, training, scoring and saving, on one thread, without the
  report; relative to `full` in brackets. The other core did the like meanwhile.
- **memory**: the most that the process held. **disk**: the saved model's folder, with its tokenizer and, for those that
  peft knows, a second copy in peft's layout.
- `–`: recorded before this was measured."""


def _table(name: str, methods: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        f"## {SETS[name].title}",
        "",
        "| method | test accuracy | validation | learns | time, s | memory, MB | disk, MB | seeds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    full = _mean(methods.get("full", []), "processor")
    for method in ORDER:
        found = methods.get(method, [])
        if found:
            time = _mean(found, "processor")
            beside = f" ({time / full:.2f})" if time and full else ""
            cells = [method, _spread(found, "test"), _spread(found, "validation"), f"{found[0]['learned']:.2%}"]
            cells += [f"{time:.0f}{beside}" if time else "–", _megabytes(found, "peak", 0)]
            cells.append(_megabytes(found, "disk", 1))
            lines.append("| " + " | ".join([*cells, str(len(found))]) + " |")
    majority = next((r["majority"] for rs in methods.values() for r in rs if "majority" in r), None)
    if majority is not None:
        lines.append(f"| majority class | {100 * majority:.1f} | | 0.00% | | | | |")
    said = sorted({note.split(": ", 1)[-1] for rs in methods.values() for r in rs for note in r["notes"]})
    if said:
        lines += ["", "Said by some of the runs: " + "; ".join(said) + "."]
    return "\n".join(lines)


def _aims(by_set: dict[str, dict[str, list[dict[str, Any]]]]) -> str:
    """How far the parameter-efficient methods lie from full fine-tuning, seed by seed."""
    sets = [name for name in SETS if any(method in by_set.get(name, {}) for method in EFFICIENT)]
    lines = [
        "## Parameter-efficient methods beside full fine-tuning",
        "",
        "Points of test accuracy over `full`, mean of the differences seed by seed ± their standard deviation.",
        "",
        f"| method | {' | '.join(sets)} | mean |",
        "|---" * (len(sets) + 2) + "|",
    ]
    for method in (*EFFICIENT, "head"):
        gains = [_gains(by_set[name].get(method, []), by_set[name].get("full", [])) for name in sets]
        if any(gains):
            cells = [_points(gain) for gain in gains]
            whole = statistics.mean(statistics.mean(gain) for gain in gains if gain)
            lines.append(f"| {method} | {' | '.join(cells)} | {whole:+.1f} |")
    return "\n".join(lines) if sets else ""


def _rates() -> str:
    """Accuracy on validation at several rates, from which the methods' defaults were chosen."""
    rows: dict[tuple[str, float, float], list[dict[str, Any]]] = defaultdict(list)
    for record in map(json.loads, RATES.read_text().splitlines()):
        if "error" in record:  # the method is not for such models
            continue
        # By the factor, or by the rate itself where a method has one of its own.
        factor = record["factor"]
        rows[record["method"], factor or 0.0, 0.0 if factor else record["rate"]].append(record)
    lines = [
        "## Rates",
        "",
        "Accuracy on validation in percent, one seed, at several rates of what learns beside the head: so many times",
        "the rate at which the model's family is fine-tuned, or a rate of the method's own (`python",
        "benchmarks/method_rates.py`). **Bold** is the method's default. A set has 100 to 385 rows of validation: a",
        "few points are within chance.",
        "",
        f"| method | times | rate | {' | '.join(EFFICIENT_ON)} | mean |",
        "|---" * (len(EFFICIENT_ON) + 4) + "|",
    ]
    for method, factor, rate in sorted(rows, key=lambda key: (EFFICIENT.index(key[0]), *key[1:])):
        found = rows[method, factor, rate]
        scores = {record["set"]: 100 * record["validation"] for record in found}
        times, rates = f"{factor:g}" if factor else "", ", ".join(f"{r:g}" for r in sorted({r["rate"] for r in found}))
        if _is_default(method, factor, rate):
            times, rates = (f"**{times}**", rates) if factor else ("", f"**{rates}**")
        cells = [f"{scores[name]:.1f}" if name in scores else "–" for name in EFFICIENT_ON]
        whole = len(scores) >= len(EFFICIENT_ON) - (method in NOT_FOR_IMAGES)
        cells.append(f"{statistics.mean(scores.values()):.1f}" if whole else "–")
        lines.append(f"| {method} | {times} | {rates} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _is_default(method: str, factor: float, rate: float) -> bool:
    from unfreeze.methods import METHODS as REGISTERED  # on demand, as it imports torch

    default = REGISTERED.get(method)
    return rate == default.own_rate if default.own_rate is not None else factor == default.rate


def _gains(ours: list[dict[str, Any]], full: list[dict[str, Any]]) -> list[float]:
    known = {record["seed"]: record["test"] for record in full}
    return [100 * (record["test"] - known[record["seed"]]) for record in ours if record["seed"] in known]


def _points(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{statistics.mean(values):+.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def _mean(found: list[dict[str, Any]], key: str) -> float | None:
    values = [record[key] for record in found if key in record]
    return statistics.mean(values) if values else None


def _megabytes(found: list[dict[str, Any]], key: str, digits: int) -> str:
    value = _mean(found, key)
    return "–" if value is None else f"{value / MB:,.{digits}f}"


def _spread(found: list[dict[str, Any]], key: str) -> str:
    values = [100 * record[key] for record in found]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"
