"""What the data turned out to be: rows, columns, splits, findings, and what was left out and why."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import Html, cut, details, heading, isolated, join, listing, paragraph, percent, table
from unfreeze.report.words import rows
from unfreeze.run import Run

MOST_LABELS = 20
MOST_REASONS = 20
MOST_ROWS = 10
LONGEST = 200
SEVERITY = {"info": "note", "warning": "take care", "error": "problem"}


def render(run: Run) -> Html:
    """Everything that the manifest and the quarantine tell."""
    manifest = run.manifest
    intro = join(
        [
            isolated(manifest.source),
            f": {manifest.modality}, {manifest.task} ({manifest.task_reason}). Splits: {manifest.split_reason}.",
        ]
    )
    parts = [paragraph(intro), _rows(run), _columns(run), _findings(run), _quarantine(run)]
    return join(parts)


def _rows(run: Run) -> Html:
    manifest = run.manifest
    splits = list(manifest.rows)
    if not manifest.labels:
        return table(["split", "rows"], [(split, manifest.rows[split]) for split in splits], "Rows by split")
    counts = manifest.counts
    ranked = sorted(manifest.labels, key=lambda label: -sum(counts.get(split, {}).get(label, 0) for split in splits))
    lines = [[isolated(cut(label)), *(counts.get(split, {}).get(label, 0) for split in splits)] for label in ranked]
    total = ["all rows", *(manifest.rows[split] for split in splits)]
    shown = [total, *lines[:MOST_LABELS]]
    made = table(["label", *splits], shown, "Rows by label and split, the most frequent first")
    if len(lines) <= MOST_LABELS:
        return made
    rest = table(["label", *splits], lines[MOST_LABELS:], "The other labels")
    return join([made, details(f"{len(lines) - MOST_LABELS:,} more labels", rest)])


def _columns(run: Run) -> Html:
    lines = [(isolated(cut(column.name)), column.role, column.reason) for column in run.manifest.columns]
    return table(["column", "role", "why"], lines, "Columns")


def _findings(run: Run) -> Html | None:
    found = run.manifest.findings
    if not found:
        return paragraph("The audit had nothing to remark.")
    lines = [
        (
            SEVERITY.get(finding.severity, finding.severity),
            finding.count or "",
            finding.message,
            _examples(finding.examples),
        )
        for finding in found
    ]
    return table(["kind", "rows", "what", "for example"], lines, "What the audit found", row_headers=False)


def _examples(examples: tuple[str, ...]) -> Html | str:
    return listing(isolated(cut(example, LONGEST)) for example in examples[:3]) if examples else ""


def _quarantine(run: Run) -> Html | None:
    path = run.path / "quarantine.jsonl"
    if not run.manifest.quarantined or not path.exists():
        return paragraph("No row was left out.") if not run.manifest.quarantined else None
    reasons: Counter[str] = Counter()
    first: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            reasons[_kind(str(row.get("reason", "")))] += 1
            if len(first) < MOST_ROWS:
                first.append(row)
    total = sum(run.manifest.rows.values()) + run.manifest.quarantined
    share = percent(run.manifest.quarantined / total)
    words = paragraph(f"{rows(run.manifest.quarantined)} of {total:,} ({share}), told one by one in quarantine.jsonl.")
    lines = [(cut(reason, LONGEST), count) for reason, count in reasons.most_common(MOST_REASONS)]
    counted = table(["reason", "rows"], lines, "Why rows were left out")
    shown = [(isolated(cut(str(row.get("origin")))), cut(str(row.get("reason")), LONGEST)) for row in first]
    examples = details("The first of them", table(["row", "reason"], shown, "Rows that were left out"))
    return join([heading("Left out"), words, counted, examples])


def _kind(reason: str) -> str:
    """A reason without what names one row: its part before a colon."""
    return reason.split(": ", 1)[0].strip().rstrip(".") or "no reason given"


SECTION = Section(order=68, title="Data", render=render)
