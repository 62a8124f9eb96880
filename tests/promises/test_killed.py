"""Promise 4, with real processes and SIGKILL: at random moments, before file operations, and by what a user sends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import finish, fit_killed_at_file_event, fit_then_leave, kill_after, seconds_of, start
from small import Killed, essence, fit_text, resume

from unfreeze import api
from unfreeze.errors import Interrupted
from unfreeze.progress import Silent
from unfreeze.run import Run
from unfreeze.train.files import read_json

OPTIONS: dict[str, Any] = {"method": "gradual:2", "epochs": 4, "ema": 0.9, "model__dropout": 0.2, "checkpoint_steps": 4}


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_text(home, tmp_path_factory.mktemp("whole") / "run", **OPTIONS).path


def status(run: Path) -> str:
    return str(read_json(run / "status.json")["status"])


def test_killed_eight_times_at_random_moments(home: Path, tmp_path: Path, whole: Path) -> None:
    draw = random.Random(8)
    for name in ("first", "second"):  # The first one waits for the server that forks.
        took = seconds_of(lambda name=name: finish(start(fit_then_leave, home, tmp_path / name, OPTIONS)))
    runs = kills = 0
    while kills < 8:
        output = tmp_path / str(runs)
        code = kill_after(start(fit_then_leave, home, output, OPTIONS), draw.uniform(0.1, 0.9) * took)
        kills += code == -signal.SIGKILL
        if code == 0 or kills == 8:
            assert finish(start(fit_then_leave, home, output, OPTIONS)) == 0
            assert essence(output) == essence(whole)
            assert status(output) == "finished"
            runs += 1


@pytest.fixture(scope="module")
def file_events(home: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    folder = tmp_path_factory.mktemp("events")
    code = finish(start(fit_killed_at_file_event, home, folder / "run", OPTIONS, 0, folder / "count"))
    assert code == 0
    return int((folder / "count").read_text())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.08, 0.14, 0.3, 0.55, 0.8, 0.9, 0.95, 0.98, 1.0])
def test_killed_before_an_operation_on_a_file(
    home: Path, tmp_path: Path, whole: Path, file_events: int, share: float
) -> None:
    """From the making of the folder to the last clearing up; what has not begun is begun again."""
    output, number = tmp_path / "cut", 1 + round(share * (file_events - 1))
    process = start(fit_killed_at_file_event, home, output, OPTIONS, number, tmp_path / "count")
    assert finish(process) == -signal.SIGKILL
    if (output / "status.json").exists():
        resume(output)
    else:
        fit_text(home, output, **OPTIONS)
    assert essence(output) == essence(whole)
    assert status(output) == "finished"
    assert not (output / "checkpoints").exists()


class Signals(Silent):
    """Sends this process a signal at some updates, counted from 1."""

    def __init__(self, number: signal.Signals, *updates: int) -> None:
        self.number, self.updates, self.count = number, updates, 0

    def step(self, step: int, loss: float, lr: float) -> None:
        self.count += 1
        for _ in range(self.updates.count(self.count)):
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("updates", [(5,), (24,), (7, 7)], ids=["once", "at the end", "twice at once"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_termination_leave_a_run_that_goes_on(
    home: Path, tmp_path: Path, whole: Path, number: signal.Signals, updates: tuple[int, ...]
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"unfreeze resume {tmp_path / 'cut'}"):
        fit_text(home, tmp_path / "cut", progress=Signals(number, *updates), **OPTIONS)
    assert signal.getsignal(number) is before
    assert status(tmp_path / "cut") == "interrupted"
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole)


def test_ctrl_c_before_training_and_while_scoring(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    class InScoring(Silent):
        def stage(self, message: str) -> None:
            if message == "scoring":
                raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        fit_text(home, tmp_path / "cut", progress=InScoring(), **OPTIONS)
    assert status(tmp_path / "cut") == "interrupted"
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole)


def test_killed_between_the_result_and_the_status(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    def stop(folder: Path, value: str, **more: Any) -> None:
        if value == "finished":
            raise Killed
        set_status(folder, value, **more)

    set_status = api.set_status
    with monkeypatch.context() as patch:
        patch.setattr(api, "set_status", stop)
        with pytest.raises(Killed):
            fit_text(home, tmp_path / "cut", **OPTIONS)
    assert status(tmp_path / "cut") == "running"
    resume(tmp_path / "cut")
    assert status(tmp_path / "cut") == "finished"
    assert essence(tmp_path / "cut") == essence(whole)


def test_ctrl_c_at_the_command_line_ends_with_130_and_resumes(home: Path, tmp_path: Path) -> None:
    options = {"epochs": 25, "method": "head", "replay": False}
    whole = fit_text(home, tmp_path / "whole", **options)
    recipe = whole.path / "recipe.resolved.yaml"
    words = ["fit", str(recipe), "--set", f"output.folder={tmp_path / 'cut'}"]
    command = partial(subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = command([sys.executable, "-m", "unfreeze.cli", *words])
    while process.poll() is None and not (tmp_path / "cut" / "log.jsonl").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "unfreeze resume" in said
    assert status(tmp_path / "cut") == "interrupted"
    assert not (tmp_path / "cut" / "result.json").exists()
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)
    assert Run(tmp_path / "cut").status == "finished"
