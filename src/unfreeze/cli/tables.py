"""Tables for people. Whatever comes from data, recipes or models passes through `words`, never as markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unfreeze.progress import counted, printable
from unfreeze.stack.budget import in_words

if TYPE_CHECKING:
    from unfreeze.data.manifest import Finding, Prepared
    from unfreeze.methods._method import Phase
    from unfreeze.registry import Card

MOST_PHASES = 4
"""Plans with more phases show a strip with one mark for each instead of a column for each."""

MOST_LABELS = 12

MOST_TUNED = 24
"""Lines about what a method changed in the model."""

SEVERITY = {"info": "cyan", "warning": "yellow", "error": "red"}


def words(value: Any, style: str = "") -> Text:
    """Any value as text that a terminal shows literally: no markup, no control characters."""
    return Text(printable(" ".join(str(value).split("\n"))), style=style)


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> Table:
    """A table of literal cells; `right` says which columns are aligned to the right."""
    made = Table(title=words(title, "bold"), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers):
        made.add_column(words(header), justify="right" if index in set(right) else "left", overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else words(cell) for cell in row))
    return made


# ------------------------------------------------------------------------------------------------- plan


def plan_table(plan: Any) -> Table:
    """The layer groups from top to bottom: parameters, learning rate in each phase, and when each thaws."""
    phases: Sequence[Phase] = plan.phases
    wide = len(phases) <= MOST_PHASES
    names = [phase_title(index, phase) for index, phase in enumerate(phases)]
    headers = ["layer group", "parameters", *(names if wide else ["phases", "learning rate"]), "thaws at"]
    rows = []
    for layer in reversed(plan.layers):
        rates = [layer.learns.get(index) for index in range(len(phases))]
        cells = [_rate(rate) for rate in rates] if wide else [_strip(rates), _span(rates)]
        style = "" if layer.learns else "blue"
        rows.append([words(layer.name, style), f"{layer.parameters:,}", *cells, _thaw(layer, plan)])
    return table("Plan, from the top of the network to the bottom", headers, rows, right=[1])


def plan_summary(plan: Any) -> list[Text]:
    """The lines under the plan: how much learns, on which data, what is checked, and what to know."""
    learning = sum(layer.parameters for layer in plan.layers if layer.learns)
    total = plan.total_parameters
    share = 100 * learning / total if total else 0.0
    rest = "; the rest stays as it is" if learning < total else ""
    manifest = plan.manifest
    rows = ", ".join(f"{count:,} {split}" for split, count in manifest.rows.items())
    lines = [
        words(f"{learning:,} of {total:,} parameters learn ({share:.1f} %){rest}."),
        words(f"Data: {rows}; task: {manifest.task} ({manifest.task_reason})"),
        words(f"{plan.steps_per_epoch:,} updates per epoch."),
    ]
    lines += [words(f"method: {line}") for line in plan.tuning[:MOST_TUNED]]
    if len(plan.tuning) > MOST_TUNED:
        lines.append(words(f"method: … {len(plan.tuning) - MOST_TUNED} more lines, which --json shows"))
    lines += [words(f"replay: {line}") for line in plan.replay]
    lines += [words(f"check: {line}", "dim") for line in plan.preflight]
    lines += [words(f"note: {line}", "yellow") for line in plan.notes]
    return lines


def forecast_parts(forecast: Any) -> list[Table | Text]:
    """What a run will take: a line, where its memory goes, and each phase's time."""
    peak = forecast.peak
    seconds = f", about {duration(forecast.seconds)} as fast as it is now" if forecast.seconds is not None else ""
    parts: list[Table | Text] = [words(f"Forecast: {in_words(peak.bytes)} of memory ({forecast.device}){seconds}.")]
    shares = sorted(peak.parts.items(), key=lambda part: -part[1])
    parts.append(
        table(
            f"Memory at its fullest ({peak.name})", ["what", "size"], [(n, in_words(s)) for n, s in shares], right=[1]
        )
    )
    kinds = list(dict.fromkeys(kind for phase in forecast.phases for kind in phase.seconds))
    rows = [
        [phase.name, f"{phase.updates:,}" if phase.updates else "", *(duration(phase.seconds.get(k)) for k in kinds)]
        for phase in forecast.phases
    ]
    if rows:
        parts.append(table("Time", ["phase", "updates", *kinds], rows, right=range(1, len(kinds) + 2)))
    return parts


def duration(seconds: float | None) -> str:
    """ "40 s", "12 min", "3.5 h"; nothing where there is nothing to tell."""
    if not seconds:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def reasons_table(plan: Any) -> Table:
    """Every default that was taken, with its reason."""
    rows = [(key, _chosen(plan.recipe, key), reason) for key, reason in plan.reasons.items()]
    return table("Decided for you", ["option", "value", "reason"], rows)


def phase_title(index: int, phase: Phase) -> str:
    """ "1 head, 2 epochs"; at most so many where the phase ends on a plateau."""
    most = "≤ " if phase.until == "plateau" else ""
    return f"{index + 1} {phase.name}, {most}{phase.epochs:g} ep."


def _rate(rate: float | None) -> Text:
    return words("frozen", "blue") if rate is None else words(f"{rate:.2g}", "green")


def _strip(rates: Sequence[float | None]) -> Text:
    strip = Text()
    for rate in rates:
        strip.append("·" if rate is None else "■", style="blue" if rate is None else "green")
    return strip


def _span(rates: Sequence[float | None]) -> Text:
    learning = [rate for rate in rates if rate is not None]
    if not learning:
        return _rate(None)
    low, high = min(learning), max(learning)
    return words(f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}", "green")


def _thaw(layer: Any, plan: Any) -> Text:
    """The update at which a group first learns."""
    if not layer.learns:
        return words("never", "blue")
    before = plan.phases[: min(layer.learns)]
    epochs = sum(phase.epochs for phase in before)
    latest = "≤ " if any(phase.until == "plateau" for phase in before) else ""
    return words(f"{latest}update {round(epochs * plan.steps_per_epoch):,}" if epochs else "the start")


def _chosen(recipe: Any, key: str) -> Any:
    value = recipe
    for part in key.split("."):
        value = getattr(value, part, None)
    return "" if value is None else value


# ------------------------------------------------------------------------------------------------- data


def inspect_parts(prepared: Prepared) -> list[Table | Text]:
    """The audit: columns, rows by split and label, findings, and what was left out."""
    manifest = prepared.manifest
    columns = [(column.name, column.role, column.reason) for column in manifest.columns]
    parts: list[Table | Text] = [
        words(f"{manifest.source}: {manifest.modality}, {manifest.task} ({manifest.task_reason})"),
        table("Columns", ["column", "role", "why"], columns),
        _counts(manifest.rows, manifest.counts, manifest.labels),
        words(f"Splits: {manifest.split_reason}"),
    ]
    if manifest.findings:
        found = [_finding(finding) for finding in manifest.findings]
        parts.append(table("Findings", ["", "rows", "what", "for example"], found, right=[1]))
    if prepared.quarantine:
        left = [(row.origin, row.reason) for row in prepared.quarantine[:MOST_LABELS]]
        title = f"Left out: {len(prepared.quarantine):,} rows" + (
            f" (the first {len(left)})" if len(left) < manifest.quarantined else ""
        )
        parts.append(table(title, ["row", "reason"], left))
    return parts


def _counts(rows: Mapping[str, int], counts: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> Table:
    splits = list(rows)
    lines = [[label, *(counts.get(split, {}).get(label, 0) for split in splits)] for label in labels[:MOST_LABELS]]
    if len(labels) > MOST_LABELS:
        lines.append([f"… {len(labels) - MOST_LABELS} more labels", *("" for _ in splits)])
    lines.append(["all rows", *(rows[split] for split in splits)])
    return table("Rows", ["label", *splits], lines, right=range(1, len(splits) + 1))


def _finding(finding: Finding) -> list[Any]:
    examples = "; ".join(finding.examples[:3])
    return [words(finding.severity, SEVERITY[finding.severity]), finding.count or "", finding.message, examples]


# ---------------------------------------------------------------------------------------------- results


NO_ROWS = "No rows were held back: nothing can be said of how well it does on others"


def result_table(result: Mapping[str, Any]) -> Table:
    """Each metric with its 95 % interval, beside the simplest alternative: of the test, or else of validation."""
    split = "test" if result.get("test") else "validation"
    baseline = result.get("baseline") or {}
    against = baseline.get("test") or {}
    rows = [
        [words(name, "bold" if name == result.get("metric") else ""), figure(_value(scored)), interval(scored),
         figure(_value(against.get(name)))]
        for name, scored in (result.get(split) or {}).items()
    ]  # fmt: skip
    name = baseline.get("name") or "baseline"
    title = "Test" if split == "test" else "Validation (there is no test split)" if rows else NO_ROWS
    return table(title, ["metric", "value", "95 % interval", name], rows, right=[1, 2, 3])


def result_parts(result: Mapping[str, Any]) -> list[Table | Text]:
    """The results of a finished run, and what was proven about the saved model."""
    parts: list[Table | Text] = [result_table(result)]
    gate = result.get("gate")
    if gate:
        where = "a fresh process" if gate["process"] == "fresh" else "this process"
        same = f"the same {gate['tensors']:,} tensors and " if "tensors" in gate else ""
        found = f"{same}the same {gate['rows']} predictions (largest difference {gate['difference']:.1g})"
        parts.append(words(f"Loaded in {where}, the saved model has {found}."))
    if result.get("seconds") is not None:
        parts.append(words(f"{result['seconds']:,.0f} seconds in all."))
    return parts


def merged_parts(run: Any) -> list[Table | Text]:
    """What was proven about a merged run, and where its parts lie."""
    result = run.result
    gate = result["gate"]
    where = "a fresh process" if gate["process"] == "fresh" else "this process"
    lines = [
        words(
            f"Loaded in {where}, the merged model reproduces the outputs for {gate['rows']} rows: they differ by at "
            f"most {gate['difference']:.1g} of their scale (allowed: {gate['tolerance']:g})."
        )
    ]
    for library in ("transformers", "timm"):
        if (run.path / library).is_dir():
            lines.append(words(f"As {library} reads it: {run.path / library}"))
    return [*lines, words(f"Run: {run.path}")]


def scores_parts(scores: Mapping[str, Any]) -> list[Table | Text]:
    """What evaluating a run on further data gave."""
    rows = [[name, figure(_value(scored)), interval(scored)] for name, scored in scores["metrics"].items()]
    left = scores.get("left_out") or ()
    parts: list[Table | Text] = [table(_scored(scores), ["metric", "value", "95 % interval"], rows, right=[1, 2])]
    if left:
        shown = [(row["origin"], row["reason"]) for row in left[:MOST_LABELS]]
        parts.append(table(f"Left out: {len(left):,} rows", ["row", "reason"], shown))
    return parts


def compare_parts(rows: Sequence[Mapping[str, Any]]) -> list[Table | Text]:
    """One run per line: what learned, the test figures with the interval of the one that ranks them, the time."""
    metric = rows[0]["metric"] if rows else ""
    others = [name for name in dict.fromkeys(name for row in rows for name in row["test"]) if name != metric]
    lines = []
    for row in rows:
        cells = [_ranged(row["test"].get(metric)), *(figure(_value(row["test"].get(name))) for name in others)]
        learned = 100 * row["learned_share"]
        share = f"{learned:.1f} %" if learned >= 0.1 else f"{learned:.2g} %"
        lines.append([row["run"], row["model"], row["method"], share, *cells, f"{row['seconds']:,.0f} s"])
    titles = [f"{metric.replace('_', ' ')} (95 %)", *(name.replace("_", " ") for name in others)]
    headers = ["run", "model", "method", "learned", *titles, "time"]
    parts: list[Table | Text] = [table("Runs, best first", headers, lines, right=range(3, len(headers)))]
    if not all(row.get("same_test", True) for row in rows):
        parts.append(words("The runs were tested on different rows: their figures do not compare exactly.", "yellow"))
    return parts


def _scored(scores: Mapping[str, Any]) -> str:
    split = scores.get("split")
    return counted(scores["rows"], "row") + (f" (the {split} split alone)" if split else "")


def _ranged(scored: Any) -> str:
    """ "0.9333 (0.85–0.98)"."""
    if not interval(scored):
        return figure(_value(scored))
    return f"{figure(_value(scored))} ({scored['low']:.2f}–{scored['high']:.2f})"


def predictions_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One prediction per line, with the probability of what was predicted where there is one."""
    headers = list(dict.fromkeys(name for row in rows for name, value in row.items() if not isinstance(value, Mapping)))
    lines = [[_shown(row.get(name, "")) for name in headers] + [_confidence(row)] for row in rows]
    return table("Predictions", [*headers, "probability"], lines, right=[len(headers)])


def figure(value: Any) -> str:
    """A figure with four digits, or nothing."""
    return f"{value:.4f}" if isinstance(value, (int, float)) else ""


def interval(scored: Any) -> str:
    """ "0.81 to 0.85", or nothing where none was asked for."""
    if not isinstance(scored, Mapping) or scored.get("low") is None or scored.get("high") is None:
        return ""
    return f"{scored['low']:.4f} to {scored['high']:.4f}"


def _value(scored: Any) -> Any:
    return scored.get("value") if isinstance(scored, Mapping) else scored


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _confidence(row: Mapping[str, Any]) -> str:
    probabilities, prediction = row.get("probabilities"), row.get("prediction")
    if isinstance(probabilities, Mapping) and isinstance(prediction, str):
        return figure(probabilities.get(prediction))
    return ""


# ------------------------------------------------------------------------------------------------- cards


def cards_table(title: str, cards: Iterable[tuple[str, Card]]) -> Table:
    """What there is: name, what it does, when to take it, what it costs."""
    rows = [(words(name, "bold"), card.what, card.when, card.cost) for name, card in cards]
    return table(title, ["name", "what", "when", "cost"], rows)


def settings_parts(settings: Sequence[Mapping[str, str]]) -> list[Any]:
    """A method's own settings as a table; nothing where it has none."""
    if not settings:
        return []
    table = Table("method.options", "takes", "default", "what it is for", box=None, pad_edge=False)
    for row in settings:
        table.add_row(*(words(row[key]) for key in ("name", "takes", "default", "help")))
    return [words(""), table]


def card_parts(name: str, card: Card) -> list[Text]:
    """One card in full."""
    facts = {"what": card.what, "when": card.when, "cost": card.cost, "evidence": card.evidence, "source": card.source}
    return [words(name, "bold"), *(words(f"{key + ':':<10}{value}") for key, value in facts.items())]
