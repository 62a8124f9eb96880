"""The reload gate: a fresh process loads the saved model and must reproduce the predictions.

`python -m unfreeze.evaluation.gate RUN` is that process. What it needs stands in `RUN/gate`: a sample of
inputs as the data layer gave them, and the outputs of the trained model before it was saved.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from unfreeze.data.manifest import Examples, ImageRef, Input
from unfreeze.errors import ReloadError
from unfreeze.models.pretrained import Pretrained
from unfreeze.train.feed import encode_all, to_device
from unfreeze.train.files import read_json, write_bytes, write_json
from unfreeze.train.order import reading_batches

ENCODED_TOGETHER = 1000
"""Inputs that are encoded, and sorted by length, at a time: images of a large prediction must not all be in memory."""


@dataclass(frozen=True)
class GateResult:
    """How closely a reloaded model reproduced the outputs. `difference` is relative to the outputs' scale."""

    rows: int
    difference: float
    tolerance: float
    process: str
    passed: bool


@torch.inference_mode()
def outputs_of(pretrained: Pretrained, inputs: Sequence[Input], batch_size: int = 16) -> Tensor:
    """Outputs of shape (rows, outputs) in float32 on the CPU, in eval mode and in the order of the inputs."""
    pretrained.module.eval()
    preprocess = pretrained.preprocess
    device = next(pretrained.module.parameters()).device
    found: list[Tensor] = []
    order: list[int] = []
    for start in range(0, len(inputs), ENCODED_TOGETHER):
        samples = encode_all(preprocess, inputs[start : start + ENCODED_TOGETHER])
        for rows in reading_batches([preprocess.length(sample) for sample in samples], batch_size):
            batch = to_device(preprocess.collate([samples[row] for row in rows]), device)
            found.append(pretrained.module(**batch).float().cpu())
            order.extend(start + row for row in rows)
    if not found:
        return torch.zeros(0, pretrained.spec["outputs"])
    return torch.cat(found)[torch.tensor(order).argsort()]


def write_gate(folder: Path, pretrained: Pretrained, examples: Examples, rows: int) -> None:
    """Keep a sample of inputs, spread over the examples, and the trained model's outputs for them."""
    folder.mkdir(parents=True, exist_ok=True)
    count = min(rows, len(examples))
    chosen = [examples.inputs[index * len(examples) // count] for index in range(count)]
    lines = "".join(json.dumps(_to_json(item), ensure_ascii=False) + "\n" for item in chosen)
    write_bytes(folder / "inputs.jsonl", lines.encode())
    save_file({"outputs": outputs_of(pretrained, chosen)}, folder / "outputs.safetensors")


def pass_gate(run: Path, *, tolerance: float, fresh_process: bool) -> GateResult:
    """Load the saved model and compare.

    Raises
    ------
    ReloadError
        If the model cannot be loaded or its outputs differ by more than the tolerance.
    """
    result = _in_process(run, tolerance) if not fresh_process else _in_fresh_process(run, tolerance)
    write_json(run / "gate" / "result.json", asdict(result))
    if not result.passed:
        raise ReloadError(
            f"The saved model does not reproduce the trained one: on {result.rows} rows outputs differ by "
            f"{result.difference:.1e} of their scale, more than {result.tolerance:.0e}. It stays in '{run / 'model'}' "
            "for inspection; the run is not finished."
        )
    return result


def _in_process(run: Path, tolerance: float, process: str = "inline") -> GateResult:
    from unfreeze.models.store import load

    lines = (run / "gate" / "inputs.jsonl").read_text(encoding="utf-8").split("\n")
    inputs = [_from_json(json.loads(line)) for line in lines if line]
    expected = load_file(run / "gate" / "outputs.safetensors")["outputs"]
    try:
        reloaded = load(run / "model")
    except Exception as error:  # whatever is wrong with the files: what was saved is not what was trained
        raise ReloadError(f"The saved model cannot be loaded: {error}") from error
    found = outputs_of(reloaded, inputs)
    if found.shape != expected.shape:
        return GateResult(len(inputs), float("inf"), tolerance, process, False)
    scale = float(expected.abs().max().clamp(min=1e-6))
    difference = float((found - expected).abs().max()) / scale
    return GateResult(len(inputs), difference, tolerance, process, difference <= tolerance)


def _in_fresh_process(run: Path, tolerance: float) -> GateResult:
    command = [sys.executable, "-m", "unfreeze.evaluation.gate", str(run), repr(tolerance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ReloadError(f"A fresh process could not load the saved model: {said[-1] if said else 'no message'}")
    return GateResult(**json.loads(done.stdout.strip().splitlines()[-1]))


def _to_json(item: Input) -> Any:
    if isinstance(item, ImageRef):
        content = item.data if item.data is not None else item.path.read_bytes() if item.path else b""
        return {"image": base64.b64encode(content).decode()}
    return list(item) if isinstance(item, tuple) else item


def _from_json(value: Any) -> Input:
    if isinstance(value, dict):
        return ImageRef(data=base64.b64decode(value["image"]))
    return (value[0], value[1]) if isinstance(value, list) else str(value)


def main() -> None:
    """Entry of the fresh process: print the result as one line of JSON."""
    run, tolerance = Path(sys.argv[1]), float(sys.argv[2])
    print(json.dumps(asdict(_in_process(run, tolerance, process="fresh"))))


def read_gate(run: Path) -> dict[str, Any]:
    """The gate's result as it was written."""
    return dict(read_json(run / "gate" / "result.json"))


if __name__ == "__main__":
    main()
