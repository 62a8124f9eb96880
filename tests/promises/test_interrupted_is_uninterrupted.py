"""Promise 4: stopped anywhere and resumed, a run ends with the same bits. Here stopped by an exception, at every
place that matters; test_killed.py kills real processes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import (
    BASE,
    KillAt,
    Killed,
    essence,
    fit_images,
    fit_text,
    read_table,
    resume,
    table,
    text_model,
    write_table,
)
from torch import Tensor

from unfreeze.api import HookMaker, fit_recipe, recipe_of
from unfreeze.cli import main
from unfreeze.errors import CheckpointError, Interrupted, RunError
from unfreeze.planning import make_plan
from unfreeze.progress import Silent
from unfreeze.run import Run
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.train import loop
from unfreeze.train.distillation import Distillation, head_of
from unfreeze.train.files import read_json
from unfreeze.train.hooks import Hook, LoopState

Fit = Callable[..., Run]


def killed(fit: Fit, home: Path, output: Path, update: int, **options: Any) -> bool:
    """Begin, or resume where there is something, and stop at an update of this process; False if it ended before."""
    PROCESS_CACHE.clear()
    begun = (output / "status.json").exists()
    try:
        if begun:
            resume(output, progress=KillAt(update))
        else:
            fit(home, output, progress=KillAt(update), **options)
    except Killed:
        return True
    return False


def updates_of(run: Run) -> int:
    return int(run.result["history"][-1]["step"])


EVERYTHING = {
    "ema": 0.8,
    "method__l2_sp": 0.1,
    "model__dropout": 0.3,
    "micro_batch": 3,
    "label_smoothing": 0.1,
    "sampling": "balanced",
    "class_weights": "balanced",
}
TEXT = {
    "lp-ft with everything": {"method": "lp-ft", "epochs": 3, **EVERYTHING},
    "lp-ft without replay": {"method": "lp-ft", "epochs": 2, "replay": False, "model__dropout": 0.2},
    "gradual on plateau": {"method": "gradual-on-plateau", "epochs": 6, "evaluation__metric": "accuracy"},
    "chain-thaw": {"method": "chain-thaw", "epochs": 5},
    "layer decay, early stopping": {"method": "gradual", "epochs": 4, "layer_decay": 0.8, "early_stopping": 1},
    "words change": {"method": "full", "epochs": 2, "augment": ["word-swap", "token-dropout"], "micro_batch": 5},
    "from scratch": {"method": "scratch", "epochs": 2, "schedule": "one-cycle"},
    "rate falls on plateaus": {"method": "full", "epochs": 4, "schedule": "plateau", "early_stopping": 3},
    "parts of epochs": {
        "method": None,
        "epochs": None,
        "phases": [
            {"learn": "head", "epochs": 1.6},
            {"learn": "block 1", "epochs": 0.5},
            {"learn": "all", "epochs": 1.3},
        ],
    },
}
IMAGES = {
    "BatchNorm learns": {"method": "lp-ft", "epochs": 4, "augment": [], "ema": 0.7},
    "pictures change and mix": {"method": "full", "epochs": 3, "augment": ["crop", "flip", "mixup:0.4", "erasing"]},
}


@pytest.mark.parametrize(
    ("fit", "options"),
    [
        *(pytest.param(fit_text, options, id=name) for name, options in TEXT.items()),
        *(pytest.param(fit_images, options, id=name) for name, options in IMAGES.items()),
    ],
)
def test_stopped_at_random_updates_again_and_again(
    home: Path, tmp_path: Path, fit: Fit, options: dict[str, Any]
) -> None:
    options = {**options, "checkpoint_steps": 3}
    PROCESS_CACHE.clear()
    whole = fit(home, tmp_path / "whole", **options)
    draw = random.Random(str(options))
    stops = 0
    while stops < 3 and killed(fit, home, tmp_path / "cut", draw.randint(1, updates_of(whole) // 2), **options):
        stops += 1
    assert stops, "it was never stopped"
    assert read_json(tmp_path / "cut" / "status.json")["status"] in ("failed", "finished")
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adafactor", "lion"])
def test_every_optimizer_continues_with_its_state(home: Path, tmp_path: Path, optimizer: str) -> None:
    options = {"optimizer": optimizer, "epochs": 2, "checkpoint_steps": 2}
    whole = fit_text(home, tmp_path / "whole", **options)
    assert killed(fit_text, home, tmp_path / "cut", 9, **options)
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)


class At(Silent):
    """Stops at the n-th call of one of the progress's points."""

    def __init__(self, point: str, number: int) -> None:
        self.number = number
        setattr(self, point, self.count)

    def count(self, *_: Any) -> None:
        self.number -= 1
        if self.number == 0:
            raise Killed


PHASES = {"method": "gradual:2", "epochs": 4, "ema": 0.8, "checkpoint_steps": 6}
"""Two phases of two epochs of six updates: checkpoints fall just before and just after the end of each epoch."""


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_text(home, tmp_path_factory.mktemp("whole") / "run", **PHASES).path


@pytest.mark.parametrize(
    ("point", "number"), [("phase", 1), ("phase", 2), *(("epoch", n) for n in (1, 2, 3, 4)), ("stage", 4), ("stage", 5)]
)
def test_stopped_where_phases_and_epochs_end(home: Path, tmp_path: Path, whole: Path, point: str, number: int) -> None:
    PROCESS_CACHE.clear()
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=At(point, number), **PHASES)
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole)


@pytest.mark.parametrize("number", range(1, 9))
def test_stopped_just_after_each_checkpoint(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path, number: int
) -> None:
    """Between the last update of an epoch and its validation, and between the epoch's end and the next."""
    save, count = loop.save_checkpoint, [0]

    def stopping(*arguments: Any) -> Path:
        path = save(*arguments)
        count[0] += 1
        if count[0] == number:
            raise Killed
        return path

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stopping)
        with pytest.raises(Killed):
            fit_text(home, tmp_path / "cut", **PHASES)
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole)


def flip_a_bit(folder: Path) -> None:
    path = folder / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a bit": flip_a_bit,
    "cut off": lambda folder: (folder / "tensors.safetensors").write_bytes(b"short"),
    "values gone": lambda folder: (folder / "values.json").unlink(),
    "values empty": lambda folder: (folder / "values.json").write_text("{}"),
    "sums gone": lambda folder: (folder / "sha256.json").unlink(),
    "sums of nothing": lambda folder: (folder / "sha256.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(
    home: Path, tmp_path: Path, whole: Path, damage: str
) -> None:
    assert killed(fit_text, home, tmp_path / "cut", 15, **PHASES)
    older, newest = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))
    DAMAGE[damage](newest)
    resumed = resume(tmp_path / "cut")
    notes = " ".join(resumed.result["notes"])
    assert f"{newest.name} is damaged" in notes
    assert f"continuing from update {int(older.name.split('-')[1])}" in notes
    assert essence(resumed.path) == essence(whole)


def test_when_every_checkpoint_is_damaged_it_says_so(home: Path, tmp_path: Path) -> None:
    assert killed(fit_text, home, tmp_path / "cut", 9, epochs=3, checkpoint_steps=3)
    for folder in (tmp_path / "cut" / "checkpoints").glob("step-*"):
        flip_a_bit(folder)
    with pytest.raises(CheckpointError, match="step-00000003 is damaged"):
        resume(tmp_path / "cut")


@pytest.mark.parametrize("change", ["a label", "a word", "a space", "the order", "a split", "a row less"])
def test_a_run_does_not_continue_on_other_data(home: Path, tmp_path: Path, change: str) -> None:
    data = table(tmp_path / "table.csv")
    assert killed(fit_text, home, tmp_path / "cut", 5, data=data, checkpoint_steps=2)
    rows = read_table(data)
    text, label, split = rows[0]
    changed = {
        "a label": [(text, "film" if label != "film" else "bank", split), *rows[1:]],
        "a word": [(f"{text} really", label, split), *rows[1:]],
        "a space": [(text.replace(" ", "  ", 1), label, split), *rows[1:]],
        "the order": [rows[1], rows[0], *rows[2:]],
        "a split": [(text, label, "validation"), *rows[1:]],
        "a row less": rows[1:],
    }
    write_table(data, changed[change])
    with pytest.raises(RunError, match=r"data of .* have changed since the run began"):
        resume(tmp_path / "cut")
    write_table(data, rows)
    resume(tmp_path / "cut")


def test_a_run_does_not_continue_on_other_weights(home: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    text_model(tmp_path / "home" / "bert")
    table(tmp_path / "home" / "table.csv")
    assert killed(fit_text, tmp_path / "home", tmp_path / "cut", 5, checkpoint_steps=2)
    path = tmp_path / "home" / "bert" / "model.safetensors"
    tensors = load_file(path)
    next(iter(tensors.values())).flatten()[0] += 1e-6
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(RunError, match=r"weights of .* are not those that the run began with"):
        resume(tmp_path / "cut")


def test_data_given_in_python_have_to_be_given_again(home: Path, tmp_path: Path) -> None:
    pairs = [(text, label) for text, label, _ in read_table(home / "table.csv")]
    options = {"data": pairs, "target": None, "split": None, "checkpoint_steps": 2}
    whole = fit_text(home, tmp_path / "whole", **options)
    assert killed(fit_text, home, tmp_path / "cut", 5, **options)
    with pytest.raises(RunError, match=r"passed in Python: pass them again, resume\(path, data="):
        resume(tmp_path / "cut")
    resume(tmp_path / "cut", data=pairs)
    assert essence(tmp_path / "cut") == essence(whole.path)


class Drift(Hook):
    """Pulls the head's bias somewhere else at each update, from a state of its own."""

    def __init__(self, strength: float) -> None:
        self.strength = strength
        self.seen = torch.zeros(())

    def penalty(self, loop: LoopState) -> Tensor:
        self.seen = self.seen + 1
        return self.strength * (head_of(loop).bias - self.seen).square().sum()

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.seen = state["seen"]


class Pull(Hook):
    """The same without any state, so that no checkpoint tells of it."""

    def penalty(self, loop: LoopState) -> Tensor:
        return head_of(loop).bias.square().sum()


def fit_with_hooks(home: Path, output: Path, hooks: HookMaker | None, update: int | None = None) -> Run | None:
    """A run with hooks of its own, stopped at an update if one is given."""
    options = {"model__dropout": 0.2, "ema": 0.8, "checkpoint_steps": 4, "epochs": 3, **BASE}
    options |= {"target": "label", "split": "split", "method": "lp-ft", "output": output}
    recipe, _ = recipe_of(home / "table.csv", str(home / "bert"), None, options)
    PROCESS_CACHE.clear()
    try:
        return fit_recipe(recipe, progress=KillAt(update) if update else None, hooks=hooks)
    except Killed:
        return None


HOOKS: dict[str, HookMaker] = {
    "with and without state": lambda plan: [Drift(0.3), Pull()],
    "without state": lambda plan: [Pull()],
    "a distillation": lambda plan: [
        Distillation(torch.randn(len(plan.feeds["train"]), 5, generator=torch.Generator().manual_seed(1)))
    ],
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("update", [2, 11])
def test_a_run_with_hooks_of_its_own_continues_with_them(home: Path, tmp_path: Path, name: str, update: int) -> None:
    """Stopped before the first checkpoint and after some."""
    whole = fit_with_hooks(home, tmp_path / "whole", HOOKS[name])
    assert whole is not None
    assert fit_with_hooks(home, tmp_path / "cut", HOOKS[name], update) is None
    names = [type(hook).__name__ for hook in HOOKS[name](make_plan(whole.recipe))]
    with pytest.raises(RunError, match=rf"hooks .* given in Python \({', '.join(names)}\).*resume\('.*cut', hooks=…\)"):
        resume(tmp_path / "cut")
    assert main(["resume", str(tmp_path / "cut")]) == 2
    resume(tmp_path / "cut", hooks=HOOKS[name])
    assert essence(tmp_path / "cut") == essence(whole.path)
    assert whole.result["hooks"] == whole.hooks == names
    plain = fit_with_hooks(home, tmp_path / "plain", None)
    assert plain is not None
    assert essence(plain.path)["weights"] != essence(whole.path)["weights"], "the hooks had no effect"


def test_a_run_does_not_continue_with_other_hooks(home: Path, tmp_path: Path) -> None:
    assert fit_with_hooks(home, tmp_path / "cut", HOOKS["without state"], 5) is None
    assert fit_with_hooks(home, tmp_path / "plain", None, 5) is None
    with pytest.raises(
        RunError, match="was begun with the hooks Pull and cannot be continued with the hooks Drift, Pu"
    ):
        resume(tmp_path / "cut", hooks=HOOKS["with and without state"])
    with pytest.raises(RunError, match="was begun with no hooks from Python and cannot be continued with the hooks Pu"):
        resume(tmp_path / "plain", hooks=HOOKS["without state"])
    resume(tmp_path / "cut", hooks=HOOKS["without state"])
    resume(tmp_path / "plain")


def test_an_interruption_says_what_has_to_be_given_again(home: Path, tmp_path: Path) -> None:
    class CtrlC(Silent):
        def step(self, step: int, loss: float, lr: float) -> None:
            raise KeyboardInterrupt

    pairs = [(text, label) for text, label, _ in read_table(home / "table.csv")]
    recipe, objects = recipe_of(pairs, str(home / "bert"), None, {**BASE, "epochs": 2, "output": tmp_path / "cut"})
    with pytest.raises(Interrupted, match=r"unfreeze\.resume\('.*cut', data=…, hooks=…\)$"):
        fit_recipe(recipe, objects=objects, progress=CtrlC(), hooks=HOOKS["without state"])
    with pytest.raises(Interrupted, match=r"unfreeze\.resume\('.*cut', data=…, hooks=…\)$"):
        resume(tmp_path / "cut", data=pairs, progress=CtrlC(), hooks=HOOKS["without state"])
    with pytest.raises(Interrupted, match=r"unfreeze resume .*plain$"):
        fit_text(home, tmp_path / "plain", progress=CtrlC())


def test_a_finished_run_is_left_alone(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run")
    before = essence(run.path)
    assert resume(run.path).path == run.path
    assert essence(run.path) == before
    assert not (run.path / "checkpoints").exists()


def test_ctrl_c_during_the_last_validation_is_not_passed_over(home: Path, tmp_path: Path, whole: Path) -> None:
    class Asking(Silent):
        def epoch(self, figures: Any) -> None:
            if figures["epoch"] == PHASES["epochs"]:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="unfreeze resume"):
        fit_text(home, tmp_path / "cut", progress=Asking(), **PHASES)
    assert read_json(tmp_path / "cut" / "status.json")["status"] == "interrupted"
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole)
