"""How loss and validation went, with the phases and what thawed when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unfreeze.report import Section
from unfreeze.report.charts import thinned
from unfreeze.report.html import Html, Line, Mark, details, isolated, join, lines, number, paragraph, table
from unfreeze.report.words import metric
from unfreeze.run import Run

MOST_EPOCHS = 200
"""Epochs that the table of all figures holds at most."""


def render(run: Run) -> Html | None:
    """Loss and figures over the updates."""
    history = run.result.get("history") or []
    if not history:
        return None
    phases, best = phase_marks(history), best_mark(run.result)
    parts = [_words(run, history), _loss(run, history, phases), _validation(run, history, [*phases, *best])]
    return join([*parts, _every_epoch(history), _phases(run)])


def phase_marks(history: Sequence[dict[str, Any]]) -> list[Mark]:
    """A mark where each phase begins; none for a single one."""
    begins: list[Mark] = []
    before, phase = 0, None
    for entry in history:
        if entry["phase"] != phase:
            begins.append(Mark(before, str(entry["phase"])))
        before, phase = entry["step"], entry["phase"]
    return begins if len(begins) > 1 else []


def best_mark(result: dict[str, Any]) -> list[Mark]:
    """A mark at the epoch whose weights were kept."""
    steps = [entry["step"] for entry in result["history"] if entry["epoch"] == result.get("best_epoch")]
    return [Mark(step, "best, kept") for step in steps]


def _words(run: Run, history: Sequence[dict[str, Any]]) -> Html:
    updates, count = history[-1]["step"], history[-1]["epoch"]
    kept = f"; the weights of epoch {run.result['best_epoch']} were kept" if history[-1].get("validation") else ""
    passes = "1 pass" if count == 1 else f"{count} passes"
    return paragraph(f"{updates:,} updates in {passes} over {run.result['rows']['train']:,} training rows{kept}.")


def _loss(run: Run, history: Sequence[dict[str, Any]], marks: Sequence[Mark]) -> Html:
    training = [(entry["step"], _number(entry.get("loss"))) for entry in history]
    series = [Line("training, mean of the epoch", training)]
    if comparable(run):
        held = [(entry["step"], _number(entry.get("validation", {}).get("nll"))) for entry in history]
        series.append(Line("validation, after the epoch", held, style="dashed"))
    until = (0, history[-1]["step"])
    return lines(series, "Loss", x="updates", y="loss", marks=marks, x_range=until, caption="Loss over the updates.")


def comparable(run: Run) -> bool:
    """Whether the training loss is the same quantity as validation's negative log-likelihood."""
    training = run.recipe.training
    plain = training.loss in (None, "cross-entropy") and not training.label_smoothing
    mixed = any(str(name).startswith(("mixup", "cutmix")) for name in training.augment or ())
    held = any("nll" in entry.get("validation", {}) for entry in run.result["history"])
    return plain and not mixed and training.class_weights == "none" and held


def _validation(run: Run, history: Sequence[dict[str, Any]], marks: Sequence[Mark]) -> Html | None:
    chosen = run.result["metric"]
    if not any(chosen in entry.get("validation", {}) for entry in history):
        return None
    called = metric(chosen)
    points = [(entry["step"], _number(entry["validation"].get(chosen))) for entry in history]
    caption = f"After each epoch: {called.name}, which decides the epoch that is kept; {called.better} is better."
    title = f"{called.name} on validation"
    return lines(
        [Line(called.name, points)],
        title,
        x="updates",
        y=title,
        marks=marks,
        x_range=(0, history[-1]["step"]),
        caption=caption,
    )


def _every_epoch(history: Sequence[dict[str, Any]]) -> Html:
    """All that was measured in each epoch; of very many epochs some, evenly."""
    names = list(dict.fromkeys(name for entry in history for name in entry.get("validation", {})))
    shown = [history[place] for place in thinned(range(len(history)), MOST_EPOCHS)]
    rows = [
        (
            str(entry["epoch"]),
            entry["phase"],
            entry["step"],
            number(entry.get("lr"), 3),
            number(entry.get("loss")),
            *(number(entry.get("validation", {}).get(name)) for name in names),
        )
        for entry in shown
    ]
    headers = ["epoch", "phase", "updates", "rate", "training loss", *(metric(name).name for name in names)]
    some = "" if len(shown) == len(history) else f"; {len(shown)} of {len(history)} are shown"
    return details("Everything that was measured in each epoch", table(headers, rows, f"Epochs{some}"))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")


def _phases(run: Run) -> Html | None:
    phases = run.result.get("phases") or []
    if not phases:
        return None
    rows = [
        (
            str(place + 1),
            phase["name"],
            f"{'at most ' if phase['until'] == 'plateau' else ''}{phase['epochs']:g}",
            isolated(_some(phase["learn"])),
        )
        for place, phase in enumerate(phases)
    ]
    return table(["phase", "name", "epochs", "learns"], rows, "Phases as planned")


def _some(names: Sequence[str], most: int = 6) -> str:
    if len(names) <= most:
        return ", ".join(names)
    return f"{names[0]} to {names[-1]} ({len(names)} groups)"


SECTION = Section(order=30, title="Learning curves", render=render)
