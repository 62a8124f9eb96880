"""The reload gate: a fresh process loads the saved model, which must be the trained one and predict as it did.

`python -m unfreeze.evaluation.gate` is that process. What it needs stands in `RUN/gate`: a sample of
inputs as the data layer gave them, the trained model's outputs for them, and a digest of each of its parameters and
buffers. Outputs alone would not do: many tensors (rows of a table that no sample reads, a BatchNorm's count) cannot
change them.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from safetensors.torch import load_file, save_file
from torch import Tensor

from unfreeze.collector import leave_at_exit, paused
from unfreeze.data.manifest import Examples, ImageRef, Input, Modality
from unfreeze.errors import ReloadError
from unfreeze.evaluation.reading import exact, outputs_of
from unfreeze.evaluation.state import differences, state_of
from unfreeze.models.pretrained import Pretrained
from unfreeze.train.files import read_json, write_bytes, write_json

IDENTICAL = "identical"

BATCH = 16
"""Inputs that are read at a time."""

NICE = 10
"""Steps of priority by which the fresh process stands back while the other one trains."""


@dataclass(frozen=True)
class GateResult:
    """How closely a reloaded model reproduced the outputs, and whether it is the trained one to the bit.

    `difference` is relative to the outputs' scale. `state` is "identical", or what is wrong with the first that
    differs of the `tensors` parameters and buffers.
    """

    rows: int
    difference: float
    tolerance: float
    process: str
    tensors: int
    state: str
    passed: bool


def write_gate(folder: Path, pretrained: Pretrained, examples: Examples, rows: int) -> None:
    """Keep a sample of inputs, spread over the examples, and the trained model's outputs and digests for them."""
    folder.mkdir(parents=True, exist_ok=True)
    count = min(rows, len(examples))
    chosen = [examples.inputs[index * len(examples) // count] for index in range(count)]
    lines = "".join(json.dumps(_to_json(item), ensure_ascii=False) + "\n" for item in chosen)
    write_bytes(folder / "inputs.jsonl", lines.encode())
    outputs = outputs_of(pretrained, exact(pretrained), chosen, BATCH)
    save_file({"outputs": outputs}, folder / "outputs.safetensors")
    # After the outputs, as the reloaded model's: some architectures make buffers anew for the lengths that they read.
    write_json(folder / "state.json", state_of(pretrained.module))


def inherit_gate(source: Path, folder: Path, pretrained: Pretrained) -> None:
    """Keep another gate's sample and outputs, which this model has to reproduce, and this model's digests."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("inputs.jsonl", "outputs.safetensors"):
        write_bytes(folder / name, (source / name).read_bytes())
    outputs_of(pretrained, exact(pretrained), _inputs(folder), BATCH)
    write_json(folder / "state.json", state_of(pretrained.module))


def _inputs(folder: Path) -> list[Input]:
    lines = (folder / "inputs.jsonl").read_text(encoding="utf-8").split("\n")
    return [_from_json(json.loads(line)) for line in lines if line]


class FreshProcess:
    """A new Python process that loads its libraries while this one still works, then waits for a run to check.

    As a context manager it is gone in the end. It shares nothing with this process but the files of the run. Started
    first of all, it imports on one core what this process imports on another; what it has not loaded by then it loads
    at a low priority, since one core less for training costs more than that core's work.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "unfreeze.evaluation.gate"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def expect(self, modality: Modality) -> None:
        """Let it load the library that a model for such inputs will need."""
        assert self._process.stdin is not None, "opened as a pipe"
        with suppress(OSError):  # what is wrong with it is said when it is asked
            self._process.stdin.write(f"{modality}\n")
            self._process.stdin.flush()

    def check(self, run: Path, tolerance: float) -> GateResult:
        """Let it load the saved model of a run and compare.

        Raises
        ------
        ReloadError
            If it cannot.
        """
        said, complaint = self._process.communicate(json.dumps([str(run.resolve()), tolerance]))
        if self._process.returncode != 0:
            lines = complaint.strip().splitlines()
            raise ReloadError(f"A fresh process could not load the saved model: {lines[-1] if lines else 'no message'}")
        return GateResult(**json.loads(said.strip().splitlines()[-1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def pass_gate(run: Path, *, tolerance: float, fresh: FreshProcess | None) -> GateResult:
    """Load the saved model, in a fresh process or else in this one, and compare.

    Raises
    ------
    ReloadError
        If the model cannot be loaded, any of its parameters and buffers is not the trained one's, or its outputs
        differ by more than the tolerance.
    """
    result = _in_process(run, tolerance) if fresh is None else fresh.check(run, tolerance)
    write_json(run / "gate" / "result.json", asdict(result))
    if not result.passed:
        raise ReloadError(
            f"The saved model does not reproduce the trained one: {'; '.join(_complaints(result))}. It stays in "
            f"'{run / 'model'}' for inspection; the run is not finished."
        )
    return result


def _complaints(result: GateResult) -> Iterator[str]:
    if not result.difference <= result.tolerance:
        yield (
            f"on {result.rows} rows outputs differ by {result.difference:.1e} of their scale, more than "
            f"{result.tolerance:.0e}"
        )
    if result.state != IDENTICAL:
        yield f"once loaded again, {result.state}"


def _in_process(run: Path, tolerance: float, process: str = "inline") -> GateResult:
    from unfreeze.models.store import load

    inputs = _inputs(run / "gate")
    expected = load_file(run / "gate" / "outputs.safetensors")["outputs"]
    try:
        reloaded = load(run / "model")
    except Exception as error:  # whatever is wrong with the files: what was saved is not what was trained
        raise ReloadError(f"The saved model cannot be loaded: {error}") from error
    difference = _difference(outputs_of(reloaded, exact(reloaded), inputs, BATCH), expected)
    trained = read_json(run / "gate" / "state.json")
    wrong = list(differences(trained, state_of(reloaded.module)))
    more = f" (and {len(wrong) - 1} more of {len(trained)} tensors differ)" if len(wrong) > 1 else ""
    state = wrong[0] + more if wrong else IDENTICAL
    passed = difference <= tolerance and not wrong
    return GateResult(len(inputs), difference, tolerance, process, len(trained), state, passed)


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference of any output, relative to the outputs' scale."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max()) / float(expected.abs().max().clamp(min=1e-6))


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
    """Entry of the fresh process: import, wait for a run on stdin, print the result as one line of JSON."""
    leave_at_exit()
    if hasattr(os, "nice"):
        os.nice(NICE)
    with paused():
        import_module("unfreeze.models.store")
        _import(sys.stdin.readline().strip())
    asked = sys.stdin.read()
    if asked:  # else the run ended before it came to this
        run, tolerance = json.loads(asked)
        print(json.dumps(asdict(_in_process(Path(run), tolerance, process="fresh"))))


def _import(modality: str) -> None:
    """What takes seconds, before there is anything to check."""
    if modality == "image":
        import_module("unfreeze.models.tiny_cnn")
    if modality == "text":
        import_module("unfreeze.models.text")
        from transformers import AutoTokenizer, PreTrainedModel  # noqa: F401


def read_gate(run: Path) -> dict[str, Any]:
    """The gate's result as it was written."""
    return dict(read_json(run / "gate" / "result.json"))


if __name__ == "__main__":
    main()
