"""Memory runs out: the same rows are read again in smaller parts, and nothing else changes."""

from __future__ import annotations

import re
import weakref
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import BASE, KillAt, Killed, essence, fit_images, fit_text, resume, weights

from unfreeze import api
from unfreeze.cli import main
from unfreeze.errors import OutOfMemory
from unfreeze.evaluation.reading import fast, outputs_of
from unfreeze.methods import METHODS
from unfreeze.models.head import Head
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.train import loop, memory, replaying
from unfreeze.train.distillation import Distillation
from unfreeze.train.job import Job
from unfreeze.train.loop import Training
from unfreeze.train.memory import Portions, is_out_of_memory

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 99"
)
NEEDED = "Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 4.00 GiB"
ERRORS = [
    torch.OutOfMemoryError(f"CUDA out of memory. {NEEDED}"),
    MemoryError("Unable to allocate 2 GiB"),
    MemoryError(),
    RuntimeError(CPU),
    RuntimeError("MPS backend out of memory (…)"),
    RuntimeError("std::bad_alloc"),
]


@dataclass
class Narrow:
    """A machine on which no pass of more rows than `rows` fits.

    Parameters
    ----------
    learning : bool
        Whether that holds for passes that keep gradients, or for those that do not.
    after : int
        Such passes that fit first, however many rows they have.
    """

    rows: int
    learning: bool = True
    after: int = 0
    error: Exception = ERRORS[0]
    refused: int = 0

    def watch(self, module: torch.nn.Module) -> None:
        """Refuse where the head is called, when everything below it has been computed."""
        head = next(child for child in module.modules() if isinstance(child, Head))
        head.register_forward_pre_hook(self._enter)

    def _enter(self, head: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled() is not self.learning or len(arguments[0]) <= self.rows:
            return
        if self.after:
            self.after -= 1
            return
        self.refused += 1
        raise self.error


@contextmanager
def narrow(*arguments: Any, **more: Any) -> Iterator[Narrow]:
    """Training, and scoring after it, on a narrow machine."""
    PROCESS_CACHE.clear()
    machine, run = Narrow(*arguments, **more), Training.run

    def watched(self: Training) -> Any:
        machine.watch(self.job.working.module)
        return run(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", watched)
        yield machine


PLAIN = {"method": "full", "epochs": 2, "model__dropout": 0.0, "optimizer": "sgd", "lr": 0.05, "head_lr": 0.05}
RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "text with dropout": (fit_text, {"method": "full", "epochs": 2, "model__dropout": 0.3, "ema": 0.9}),
    "text in two phases": (fit_text, {"method": "lp-ft", "epochs": 2, "method__l2_sp": 0.1}),
    "text in bfloat16": (fit_text, {"method": "full", "epochs": 1, "precision": "bf16"}),
    "images with statistics": (fit_images, {"method": "full", "epochs": 2, "augment": ["flip"]}),
    **{f"text, {name}": (fit_text, {"method": name, "epochs": 1}) for name, each in METHODS.items() if each.additions},
    **{f"images, {name}": (fit_images, {"method": name, "epochs": 1, "augment": []}) for name in ("adapter", "lora")},
}


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_as_with_the_smaller_micro_batch_from_the_start(home: Path, tmp_path: Path, name: str) -> None:
    fit, options = RUNS[name]
    with narrow(5) as machine:
        disturbed = fit(home, tmp_path / "disturbed", **options)
    assert machine.refused == 1
    small = fit(home, tmp_path / "small", micro_batch=4, **options)
    assert essence(disturbed.path) == essence(small.path)


def half_done(backward: Any) -> Any:
    """Memory runs out in the second half of a batch."""

    def backward_twice(self: Training, rows: list[int], replayed: Any, size: int) -> float:
        if size > 5:
            backward(self, rows[:5], replayed, 5)
        return float(backward(self, rows, replayed, size))

    return backward_twice


@pytest.mark.parametrize("kept", ["nothing", "moved buffers", "gradients"])
def test_what_a_failed_attempt_leaves_is_undone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    """And with the undoing taken away, the same comparison fails."""
    monkeypatch.setattr(Training, "_backward", half_done(Training._backward))
    forget = memory.forget_attempt
    if kept == "moved buffers":
        monkeypatch.setattr(loop, "forget_attempt", lambda modules, buffers: forget(modules, ()))
    if kept == "gradients":
        monkeypatch.setattr(loop, "forget_attempt", lambda modules, buffers: forget((), buffers))
    options = {"method": "full", "epochs": 1, "augment": []}
    small = fit_images(home, tmp_path / "small", micro_batch=4, **options)
    with narrow(5) as machine:
        disturbed = fit_images(home, tmp_path / "disturbed", **options)
    assert machine.refused == 1
    assert (essence(disturbed.path) == essence(small.path)) is (kept == "nothing")


def test_without_dropout_it_ends_as_the_undisturbed_run(home: Path, tmp_path: Path) -> None:
    with narrow(3, after=4) as machine:
        disturbed = fit_text(home, tmp_path / "disturbed", **PLAIN)
    assert machine.refused == 2  # 8 rows, then 4
    whole = fit_text(home, tmp_path / "whole", **PLAIN)
    for one, other in zip(disturbed.result["history"], whole.result["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(disturbed)[name], tensor, rtol=1e-4, atol=1e-6)


def test_it_is_said_once(home: Path, tmp_path: Path) -> None:
    with narrow(5):
        run = fit_text(home, tmp_path / "run", method="full", epochs=2)
    (said,) = (note for note in run.result["notes"] if "memory" in note)
    assert re.search(r"at update \d with micro-batches of 8 rows", said)
    assert NEEDED in said
    assert "from here on they have 4" in said


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("update", [5, 6, 10])
def test_a_resumed_run_goes_on_alike(home: Path, tmp_path: Path, update: int, steps: int | None) -> None:
    """Also where memory suffices again by then, and no checkpoint was due."""
    options = {"method": "full", "epochs": 2, "model__dropout": 0.2, "checkpoint_every": 1e6, "checkpoint_steps": steps}
    with narrow(5, after=2) as machine:
        whole = fit_text(home, tmp_path / "whole", **options)
    (said,) = (note for note in whole.result["notes"] if "memory" in note)
    assert int(re.findall(r"update (\d+)", said)[0]) < update
    assert machine.refused == 1
    with narrow(5, after=2), pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(update), **options)
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)


def test_a_distillation_forgets_the_attempt(home: Path, tmp_path: Path) -> None:
    def fitted(**options: Any) -> dict[str, Any]:
        options = {**BASE, "target": "label", "split": "split", "method": "last:2", "epochs": 2, **options}
        output = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        recipe, _ = api.recipe_of(home / "table.csv", str(home / "bert"), None, {**options, "output": output})
        draw = torch.Generator().manual_seed(1)
        run = api.fit_recipe(recipe, hooks=lambda plan: [Distillation(torch.randn(44, 5, generator=draw))])
        return essence(run.path)

    with narrow(5) as machine:
        disturbed = fitted()
    assert machine.refused == 1
    assert fitted(micro_batch=4) == disturbed


@pytest.mark.parametrize("learning", [True, False])
def test_one_row_that_does_not_fit_is_an_error_with_advice(
    home: Path, tmp_path: Path, learning: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    said = r"one row at a time \(CUDA out of memory. Tried to .*What helps: .*model\."
    with narrow(0, learning=learning):
        with pytest.raises(OutOfMemory, match=said):
            fit_text(home, tmp_path / "run", method="full", epochs=1)
        words = ["fit", str(home / "table.csv"), "--model", str(home / "bert"), "--target", "label", "--epochs", "1"]
        assert main([*words, "--method", "full", "--quiet"]) == 1
    assert "What helps" in capsys.readouterr().err


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:30] or "without words")
def test_what_counts_as_out_of_memory(home: Path, tmp_path: Path, error: Exception) -> None:
    assert is_out_of_memory(error)
    with narrow(5, error=error) as machine:
        fit_text(home, tmp_path / "run", method="full", epochs=1)
    assert machine.refused == 1


def test_a_real_refusal_of_the_allocator_counts() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(refused.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("can't allocate memory")])
def test_other_errors_are_left_alone(home: Path, tmp_path: Path, error: Exception) -> None:
    with narrow(5, error=error), pytest.raises(type(error), match=str(error)):
        fit_text(home, tmp_path / "run", method="full", epochs=1)


def test_scoring_goes_on_with_fewer_rows(home: Path, tmp_path: Path) -> None:
    with narrow(5, learning=False) as machine:
        narrowed = fit_text(home, tmp_path / "narrow", method="full", epochs=2, evaluation__batch_size=16)
    assert machine.refused == 2  # 16 rows, then 8: remembered from the first evaluation on
    plain = fit_text(home, tmp_path / "plain", method="full", epochs=2)
    assert narrowed.metrics == pytest.approx(plain.metrics, rel=1e-5)
    assert essence(narrowed.path)["weights"] == essence(plain.path)["weights"]
    assert any("from here on 4" in note for note in narrowed.result["notes"])


def test_predicting_goes_on_with_fewer_rows(home: Path, tmp_path: Path) -> None:
    pretrained = fit_text(home, tmp_path / "run", method="full", epochs=1).pretrained
    texts = [f"a great {'old ' * (number % 7)}movie {number}" for number in range(20)]
    expected = outputs_of(pretrained, fast(pretrained, "float32"), texts)
    working, machine = fast(pretrained, "float32"), Narrow(3, learning=False)
    machine.watch(working.module)
    torch.testing.assert_close(outputs_of(pretrained, working, texts, 20), expected, rtol=1e-4, atol=1e-6)
    assert machine.refused == 3


def test_the_frozen_pass_goes_on_with_fewer_rows(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "FLOPS_PER_BYTE", {"cpu": 0})
    PROCESS_CACHE.clear()
    plain = fit_text(home, tmp_path / "plain", method="head", epochs=3, cache_budget=0.5)
    PROCESS_CACHE.clear()
    capture, sizes = replaying.capture_together, []

    def narrow_capture(replays: Any, batch: Any) -> Any:
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > 5:
            raise MemoryError
        return capture(replays, batch)

    monkeypatch.setattr(replaying, "capture_together", narrow_capture)
    run = fit_text(home, tmp_path / "run", method="head", epochs=3, evaluation__batch_size=16)
    assert sizes[:3] == [16, 8, 4]
    assert sum(size > 5 for size in sizes) == 2
    assert any("from here on 4" in note for note in run.result["notes"])
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(run)[name], tensor, rtol=1e-4, atol=1e-6)


def test_preflight_goes_on_with_fewer_rows(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_job, machine = api.make_job, Narrow(5)

    def making(*given: Any) -> Job:
        job = make_job(*given)
        machine.watch(job.working.module)
        return job

    monkeypatch.setattr(api, "make_job", making)
    options = {"target": "label", "split": "split", "method": "full", "batch_size": 8, "threads": 1}
    made = api.plan(home / "table.csv", str(home / "bert"), **options)
    assert machine.refused >= 1
    assert made.preflight


@settings(max_examples=25)  # each refusal collects garbage, which takes long in a large process
@given(count=st.integers(0, 60), most=st.integers(1, 40), given_most=st.none() | st.integers(1, 70))
def test_portions_are_the_rows_in_their_order(count: int, most: int, given_most: int | None) -> None:
    refused: list[int] = []

    def compute(rows: Sequence[int]) -> list[int]:
        if len(rows) > most:
            refused.append(len(rows))
            raise MemoryError
        return [row * row for row in rows]

    said: list[str] = []
    portions, rows = Portions(said.append, given_most), list(range(count))
    parts = list(portions.each(rows, compute))
    assert [row for part, _ in parts for row in part] == rows
    assert [value for _, values in parts for value in values] == [row * row for row in rows]
    assert all(0 < len(part) <= most for part, _ in parts)
    assert refused == sorted(set(refused), reverse=True)
    assert len(said) == len(refused)
    assert list(portions.each(rows, compute)) or not rows
    assert len(said) == len(refused), "what did not fit once is not tried again"


def test_an_error_of_whoever_reads_the_portions_is_not_caught() -> None:
    portions = Portions()
    parts = portions.each(range(4), len)
    assert isinstance(parts, Generator)
    next(parts)
    with pytest.raises(MemoryError):
        parts.throw(MemoryError())
    assert portions.most is None


def test_memory_of_the_attempt_is_free_when_the_next_begins() -> None:
    """Neither the error nor its frames hold what did not fit."""
    alive: list[Any] = []

    def compute(rows: Sequence[int]) -> int:
        assert all(tensor() is None for tensor in alive)
        tensor = torch.zeros(1000)
        alive.append(weakref.ref(tensor))
        if len(rows) > 2:
            raise MemoryError
        return len(rows)

    assert [found for _, found in Portions().each(range(8), compute)] == [2, 2, 2, 2]
