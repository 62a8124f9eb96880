"""Which rate suits each parameter-efficient method: accuracy on validation of three text sets and one image set.

UNFREEZE_REAL_DATA=… python benchmarks/method_rates.py [METHOD …]
"""

from __future__ import annotations

import json
import sys
import tempfile
from typing import Any

from results_page import EFFICIENT_ON, RATES
from sets import SETS

import unfreeze
from unfreeze.api import recipe_of
from unfreeze.errors import UserError
from unfreeze.planning import make_plan

FACTORS: dict[str, tuple[float, ...]] = {
    "lora": (3.0, 10.0, 30.0, 100.0),
    "adapter": (10.0, 30.0, 100.0),
    "bitfit": (10.0, 30.0, 100.0),
    "norm-only": (10.0, 30.0, 100.0),
    "ia3": (30.0, 100.0, 300.0),
}
"""Times fine-tuning's rate of the model's family; docs/results.md shows what came of each."""

RATES_OF_THEIR_OWN: dict[str, tuple[float, ...]] = {
    "ia3": (0.01,),
    "prefix": (0.01, 0.03, 0.1),
    "prompt": (0.03, 0.1, 0.3),
}
"""For what the family's rate says nothing about."""


def main(methods: list[str]) -> None:
    """Add what is not recorded yet, and print it."""
    done = {(record["method"], record["set"], record["factor"] or record["rate"]) for record in records()}
    for name in EFFICIENT_ON:
        for method in methods:
            asked = [(factor, None) for factor in FACTORS.get(method, ())]
            asked += [(None, rate) for rate in RATES_OF_THEIR_OWN.get(method, ())]
            for factor, rate in asked:
                if (method, name, factor or rate) not in done:
                    record = measured(method, name, factor, rate)
                    with RATES.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    print(json.dumps(record), flush=True)


def measured(method: str, name: str, factor: float | None, rate: float | None) -> dict[str, Any]:
    """One run, of which the test split is not looked at."""
    record: dict[str, Any] = {"method": method, "set": name, "factor": factor, "rate": rate}
    options = {**SETS[name].options(seed=0), "gate": "inline", "bootstrap": 0, "evaluation__report": False}
    try:
        rate = rate if factor is None else factor * family_rate(options)
        with tempfile.TemporaryDirectory() as folder:
            result = unfreeze.fit(**options, method=method, lr=rate, output=f"{folder}/run").result
    except UserError as error:
        return {**record, "error": str(error)}
    return {
        **record,
        "rate": rate,
        "validation": max(epoch["validation"]["accuracy"] for epoch in result["history"]),
        "loss": result["history"][-1]["loss"],
        "learned": result["learned_parameters"] / result["parameters"],
    }


def family_rate(options: dict[str, Any]) -> float:
    """Fine-tuning's rate of the family, as full fine-tuning resolves to."""
    recipe, objects = recipe_of(options["data"], options["model"], None, without(options, "data", "model"))
    rate = make_plan(recipe, objects).recipe.training.lr
    assert rate is not None, "a plan is resolved"
    return rate


def without(options: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The options but those."""
    return {key: value for key, value in options.items() if key not in keys}


def records() -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in RATES.read_text().splitlines()] if RATES.exists() else []


if __name__ == "__main__":
    main(sys.argv[1:] or list({**FACTORS, **RATES_OF_THEIR_OWN}))
