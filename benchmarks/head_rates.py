"""Which rate suits a head that learns alone on frozen features: validation accuracy on two text sets.

UNFREEZE_REAL_DATA=… python benchmarks/head_rates.py
"""

from __future__ import annotations

import sys
import tempfile

from sets import SETS

import unfreeze

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
EPOCHS = 10


def main() -> None:
    """Print the best validation accuracy of the epochs, and the last loss, by set and rate."""
    for name in ("banking77", "movies"):
        for rate in RATES:
            with tempfile.TemporaryDirectory() as folder:
                asked = {"method": "head", "epochs": EPOCHS, "head_lr": rate, "output": f"{folder}/run"}
                asked |= {"gate": "inline", "bootstrap": 0}
                result = unfreeze.fit(**{**SETS[name].options(seed=0), **asked}).result
            history = [epoch["validation"] for epoch in result["history"]]
            best = max(figures["accuracy"] for figures in history)
            print(f"{name:10} {rate:g}  accuracy {best:.3f}  nll {history[-1]['nll']:.3f}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
