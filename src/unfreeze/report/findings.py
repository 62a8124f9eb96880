"""What a reader should know before trusting a run: short notes, made from its files, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unfreeze.evaluation.paired import LEVEL
from unfreeze.report.markup import Html, Kind, cut, isolated, join, percent, scored, visible
from unfreeze.report.words import judged, metric, rows, value
from unfreeze.run import Run

FEW = 100
"""Test rows below which intervals are said to be wide."""

MOST_DATA = 5
GRAVITY: dict[str, int] = {"bad": 0, "warning": 1, "good": 2, "info": 3}


@dataclass(frozen=True)
class Said:
    """One note."""

    kind: Kind
    text: Html | str


def findings(run: Run) -> list[Said]:
    """Every note that applies, problems first."""
    makers = (_merged, _baseline, _probe, _few_rows, _labels, _surely_wrong, _evidence, _training, _data, _proven)
    found = [said for maker in makers for said in maker(run)]
    return sorted(found, key=lambda said: GRAVITY[said.kind])


def _merged(run: Run) -> Iterator[Said]:
    """Whose figures and evidence a merged run shows."""
    if run.result.get("merged"):
        text = (
            "”: what its adapter had learned was folded into its base. The merged model reproduced that run's outputs; "
            "the figures and the evidence here are that run's."
        )
        yield Said("info", join(["This run was merged from “", isolated(visible(run.result["merged"])), text]))


def _baseline(run: Run) -> Iterator[Said]:
    """Whether the model beats an answer that ignores the input, beyond what chance explains."""
    result = run.result
    name, higher = result["metric"], result.get("higher_is_better", True)
    own, other = result[judged(result)].get(name), (result.get("baseline") or {}).get("test", {}).get(name)
    if not own or not other or own.get("value") is None or other.get("value") is None:
        return
    called = result["baseline"]["name"]
    beside = f"{metric(name).name} {value(name, own)} beside {value(name, other)} ({called})"
    if not (own["value"] > other["value"] if higher else own["value"] < other["value"]):
        yield Said("bad", f"The model is no better than an answer that ignores the input: {beside}.")
    elif own.get("low") is None or other.get("low") is None:
        return
    elif own["low"] > other["high"] if higher else own["high"] < other["low"]:
        yield Said("good", f"It is clearly better than an answer that ignores the input: {beside}.")
    else:
        yield Said(
            "warning",
            f"It is not clearly better than an answer that ignores the input, since the intervals overlap: {beside}.",
        )


def _probe(run: Run) -> Iterator[Said]:
    """Whether a linear model on the frozen features does as well."""
    difference = (run.evidence.get("probe") or {}).get("difference") or {}
    chance = difference.get("p", 0.0) >= LEVEL
    if difference.get("low") is not None and (difference["low"] <= 0 or chance):
        behind = difference["high"] < 0 and not chance
        yield Said(
            "bad" if behind else "warning",
            f"A linear model on the frozen features does {'better' if behind else 'as well, as far as these rows tell'}"
            ": see “Beside simpler alternatives”.",
        )


def _few_rows(run: Run) -> Iterator[Said]:
    result = run.result
    split = judged(result)
    count = result["rows"].get(split, 0)
    if 0 < count < FEW:
        yield Said(
            "warning",
            f"There are only {rows(count)} to judge by: every figure here is uncertain, as its interval says, "
            "and differences between labels or groups even more.",
        )


def _labels(run: Run) -> Iterator[Said]:
    """The label that fares worst, where it is surely worse than the labels are on average."""
    classes = [each for each in (run.evidence.get("per-class") or {}).get("classes", ()) if each["rows"]]
    known = [each for each in classes if each["f1"]["value"] is not None]
    if len(known) < 2:
        return
    mean = sum(each["f1"]["value"] for each in known) / len(known)
    worst = min(known, key=lambda each: each["f1"]["value"])
    if worst["f1"]["high"] < mean:
        text = ["The label “", isolated(cut(worst["label"])), f"” fares worst: F1 {scored(worst['f1'])} on "]
        yield Said("warning", join([*text, f"{rows(worst['rows'])}; the labels' mean is {scored(mean)}."]))
    never = [each for each in classes if not each["predicted"]]
    if never:
        named = join([isolated(cut(each["label"], 30)) for each in never[:5]], ", ")
        more = f" and {len(never) - 5} more" if len(never) > 5 else ""
        yield Said("warning", join([f"{rows(len(never), 'label')} were never given: " if len(never) > 1 else
                                    "One label was never given: ", named, more, "."]))  # fmt: skip


def _surely_wrong(run: Run) -> Iterator[Said]:
    found = run.evidence.get("mistakes") or {}
    sure = found.get("sure_in_all")
    if sure:
        wrong = found["sure_and_wrong"]
        yield Said(
            "info",
            f"Where it was at least {percent(found['sure'], 0)} sure ({rows(sure)}), it was wrong for "
            f"{wrong:,} ({percent(wrong / sure)}).",
        )


def _evidence(run: Run) -> Iterator[Said]:
    """What each kind of evidence itself says is worth a note: `findings`, a list of text and kind."""
    for content in run.evidence.values():
        for item in content.get("findings") or ():
            if isinstance(item, dict) and item.get("text"):
                kind = item.get("kind")
                yield Said(kind if kind in GRAVITY else "info", visible(item["text"]))


def _training(run: Run) -> Iterator[Said]:
    result = run.result
    history, best = result.get("history") or [], result.get("best_epoch")
    if len(history) > 1 and best == history[-1]["epoch"] and not result.get("stopped"):
        before, last = (entry.get("validation", {}).get(result["metric"]) for entry in history[-2:])
        if before is not None and last is not None and before != last:
            yield Said("info", "The last epoch was the best on validation: more epochs may gain more.")
    if result.get("stopped"):
        yield Said("info", f"Training {visible(result['stopped'])}; the weights are those of epoch {best}.")


def _data(run: Run) -> Iterator[Said]:
    """What the audit warned of."""
    warned = [finding for finding in run.manifest.findings if finding.severity != "info"]
    for finding in warned[:MOST_DATA]:
        yield Said("bad" if finding.severity == "error" else "warning", visible(finding.message))
    if len(warned) > MOST_DATA:
        yield Said("warning", f"{len(warned) - MOST_DATA} more findings stand under “Data”.")


def _proven(run: Run) -> Iterator[Said]:
    gate: dict[str, Any] = run.result.get("gate") or {}
    if gate.get("passed"):
        where = "a fresh process" if gate.get("process") == "fresh" else "the same process"
        yield Said(
            "good", f"The saved model was loaded in {where} and gave the same {rows(gate['rows'], 'prediction')}."
        )
