"""What an update takes when only the rows of the embedding table that occur are trained, and when all are.

    python benchmarks/touched_rows.py [--into docs/speed.md]

The embedded sentence encoder on the demo's texts; then the same network with a table as long as that of multilingual
models, whose further rows never occur. One thread; processor time, in alternation, medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from pages import say, table
from updates import ready

from unfreeze.demo.stdlib_docstrings import write_csv
from unfreeze.models.embedded import minilm_folder
from unfreeze.train.loop import Training
from unfreeze.train.order import training_batches

MULTILINGUAL = 250_002
"""Rows of XLM-RoBERTa's table."""

UPDATES, WARM = 24, 4

COLUMNS = ("rows of the table", "occur", "type", "all rows, ms", "those that occur, ms", "less")


def main() -> None:
    """Print milliseconds per update, of the whole and of the rows that occur."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help="a page with the marks <!-- touched --> and <!-- /touched -->")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_csv(Path(folder) / "texts.csv")
        for name, model in (("30,522", None), (f"{MULTILINGUAL:,}", _longer(Path(folder) / "model"))):
            for precision in ("bf16", "float32"):
                how = {"method": "full", "precision": precision}
                whole, apart = (ready(data, model, touched_rows=rows, **how) for rows in (False, True))
                took = _milliseconds([whole, apart])
                (embedding,) = apart.touched.tables
                whole_ms, rows_ms, less = f"{took[0]:.0f}", f"{took[1]:.0f}", f"{1 - took[1] / took[0]:.0%}"
                lines.append([name, f"{len(embedding.rows):,}", precision, whole_ms, rows_ms, less])
    say(table(COLUMNS, lines), "touched", asked.into)


def _longer(folder: Path) -> str:
    """The sentence encoder with a longer table."""
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(minilm_folder())
    model.resize_token_embeddings(MULTILINGUAL, mean_resizing=False)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm_folder()).save_pretrained(folder)
    return str(folder)


def _milliseconds(trainings: list[Training]) -> list[float]:
    job, phase = trainings[0].job, trainings[0].job.phases[0]
    took: list[list[float]] = [[] for _ in trainings]
    for rows in training_batches(job.train.lengths, job.batch_size, key=(0,))[:UPDATES]:
        for training, times in zip(trainings, took, strict=True):
            started = time.thread_time()
            training._update(phase, UPDATES, rows, None)
            times.append(time.thread_time() - started)
    return [1000 * statistics.median(times[WARM:]) for times in took]


if __name__ == "__main__":
    main()
