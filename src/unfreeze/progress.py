"""What a long job tells while it runs, and four ways to show it. The loop knows the protocol only.

Nothing here imports torch, and rich only when bars are shown.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from unfreeze.methods._method import Phase

BOOKKEEPING = ("phase", "step", "lr")
"""Figures of an epoch that a line for people does without."""


class Progress(Protocol):
    """Told by the job, in this order: start, stages, then for each phase its steps and epochs, then finish."""

    def start(self, plan: Any) -> None:
        """The plan is made; training is about to begin."""

    def stage(self, message: str) -> None:
        """A part that has no steps begins: "loading the model"."""

    def phase(self, index: int, phase: Phase, steps: int) -> None:
        """Phase `index` (from 0) begins and takes at most `steps` updates from here."""

    def step(self, step: int, loss: float, lr: float) -> None:
        """An update is done; `step` counts from 1 within the phase; `lr` is the highest rate of a group."""

    def epoch(self, figures: Mapping[str, Any]) -> None:
        """An epoch ended and validation was scored: `epoch`, `loss` and the validation metrics."""

    def note(self, message: str) -> None:
        """Something that a person should know, such as a default that was taken."""

    def finish(self, result: Mapping[str, Any]) -> None:
        """All is done; `result` is what result.json holds. Called also when there is none ({})."""


class Silent:
    """Shows nothing."""

    def start(self, plan: Any) -> None: ...
    def stage(self, message: str) -> None: ...
    def phase(self, index: int, phase: Phase, steps: int) -> None: ...
    def step(self, step: int, loss: float, lr: float) -> None: ...
    def epoch(self, figures: Mapping[str, Any]) -> None: ...
    def note(self, message: str) -> None: ...
    def finish(self, result: Mapping[str, Any]) -> None: ...


class PlainLines:
    """One line for each stage, phase and epoch, and one every ten seconds in between: for logs."""

    every = 10.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._steps = 0
        self._last = time.monotonic()

    def _say(self, line: str) -> None:
        print(printable(line), file=self.stream, flush=True)

    def start(self, plan: Any) -> None:
        self._last = time.monotonic()
        self._say(outline(plan))

    def stage(self, message: str) -> None:
        self._say(message)

    def phase(self, index: int, phase: Phase, steps: int) -> None:
        self._steps = steps
        learning = counted(len(phase.learn), "layer group")
        self._say(f"phase {index + 1}, {phase.name}: {learning} to learn, at most {counted(steps, 'update')}")

    def step(self, step: int, loss: float, lr: float) -> None:
        if time.monotonic() - self._last >= self.every:
            self._last = time.monotonic()
            self._say(f"  update {step}/{self._steps}  loss {loss:.4f}  lr {lr:.2e}")

    def epoch(self, figures: Mapping[str, Any]) -> None:
        self._say(f"  {describe(figures)}")

    def note(self, message: str) -> None:
        self._say(f"note: {message}")

    def finish(self, result: Mapping[str, Any]) -> None: ...


class JsonLines:
    """One JSON object per line, each with its `event`: for other programs."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def _say(self, event: str, **fields: Any) -> None:
        print(json.dumps({"event": event, **fields}, default=str), file=self.stream, flush=True)

    def start(self, plan: Any) -> None:
        self._say("start", message=outline(plan))

    def stage(self, message: str) -> None:
        self._say("stage", message=message)

    def phase(self, index: int, phase: Phase, steps: int) -> None:
        self._say("phase", index=index, name=phase.name, learn=list(phase.learn), steps=steps)

    def step(self, step: int, loss: float, lr: float) -> None:
        self._say("step", step=step, loss=loss, lr=lr)

    def epoch(self, figures: Mapping[str, Any]) -> None:
        self._say("epoch", **figures)

    def note(self, message: str) -> None:
        self._say("note", message=message)

    def finish(self, result: Mapping[str, Any]) -> None:
        self._say("finish", status=result.get("status"))


class RichProgress:
    """A bar for each phase with the time left, and a live line of loss and validation figures."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._figures = ""

    @property
    def console(self) -> Console:
        """Where it is shown: standard error unless another console was given."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=True)
        return self._console

    def _open(self) -> Bars:
        if self._bars is None:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._bars = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[live]}", markup=False),
                console=self.console,
            )
            self._bars.start()
        return self._bars

    def _close_task(self) -> None:
        if self._bars is not None and self._task is not None:
            task = self._bars.tasks[self._task]
            self._bars.update(self._task, total=max(1, task.completed), completed=max(1, task.completed))
        self._task = None

    def start(self, plan: Any) -> None:
        self.stage(outline(plan))

    def stage(self, message: str) -> None:
        from rich.text import Text

        self._close_task()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        self.console.print(Text(printable(message), style="dim"))

    def phase(self, index: int, phase: Phase, steps: int) -> None:
        from rich.markup import escape

        bars = self._open()
        self._close_task()
        name = f"phase {index + 1} {escape(printable(phase.name))}"
        self._task = bars.add_task(name, total=max(1, steps), live=self._figures)

    def step(self, step: int, loss: float, lr: float) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=step, live=f"loss {loss:.4f}  lr {lr:.1e}  {self._figures}")

    def epoch(self, figures: Mapping[str, Any]) -> None:
        self._figures = live({name: value for name, value in figures.items() if name != "loss"})
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, live=live(figures))

    def note(self, message: str) -> None:
        from rich.text import Text

        self.console.print(Text(f"note: {printable(message)}", style="yellow"))

    def finish(self, result: Mapping[str, Any]) -> None:
        self._close_task()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def choose(*, quiet: bool = False, as_json: bool = False) -> Progress:
    """The way that suits: nothing when quiet, JSON lines for programs, bars on a terminal, else plain lines."""
    if quiet:
        return Silent()
    if as_json:
        return JsonLines()
    return RichProgress() if sys.stderr.isatty() else PlainLines()


def outline(plan: Any) -> str:
    """What is about to be trained, in one line."""
    learning = sum(layer.parameters for layer in plan.layers if layer.learns)
    rows = ", ".join(f"{count:,} {split}" for split, count in plan.manifest.rows.items())
    phases = counted(len(plan.phases), "phase")
    return f"{rows} rows; {learning:,} of {plan.total_parameters:,} parameters learn in {phases}"


def counted(count: int, what: str) -> str:
    """ "1 phase", "2 phases"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def describe(figures: Mapping[str, Any]) -> str:
    """Figures on one line: "epoch 2  loss 0.4312  accuracy 0.8120"."""
    return "  ".join(f"{name} {_figure(name, value)}" for name, value in figures.items() if name not in BOOKKEEPING)


def _figure(name: str, value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) and name != "epoch" else f"{value}"


def live(figures: Mapping[str, Any]) -> str:
    """What fits beside a bar: the epoch, its loss and the first validation metric."""
    shown = {name: value for name, value in figures.items() if name not in BOOKKEEPING}
    return describe(dict(list(shown.items())[:3]))


def printable(text: str) -> str:
    """Text from data without control characters, which could move a terminal's cursor or change its colours."""
    return "".join(character if character.isprintable() else "�" for character in text)
