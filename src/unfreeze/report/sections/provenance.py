"""Where everything came from and what was proven: recipe with reasons, model, versions, hashes, gate and ledger."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Html,
    code,
    details,
    element,
    facts,
    heading,
    isolated,
    join,
    listing,
    number,
    paragraph,
    table,
)
from unfreeze.report.words import typed
from unfreeze.run import RECIPE, SOUP, Run, how_to_collect, missing_of

SHORT = 16
"""Digits of a hash that are shown in tables."""


def render(run: Run) -> Html:
    """Everything that another person needs to make this run again, and to believe it."""
    return join([_facts(run), _gate(run), _ledger(run), _notes(run), _missing(run), _recipe(run), _again(run)])


def _facts(run: Run) -> Html:
    result = run.result
    source: dict[str, Any] = result.get("provenance") or {}
    model = [
        isolated(source.get("name") or result["model"]["name"]),
        f" ({result['model'].get('family')} family, {source.get('source', 'unknown source')}",
    ]
    revision = f", revision {source['revision']}" if source.get("revision") else ""
    versions = result.get("versions") or {}
    return facts(
        [
            ("model", join([*model, f"{revision})"])),
            ("licence of the model", source.get("licence") or "not stated"),
            ("sha256 of its weights", code(source["sha256"]) if source.get("sha256") else None),
            ("data", isolated(run.manifest.source)),
            ("sha256 of the data", code(run.manifest.fingerprint)),
            ("rows of the test", code(result["test_fingerprint"]) if result.get("test_fingerprint") else None),
            ("seed", run.recipe.seed),
            ("finished", result.get("finished")),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or None),
            ("given in Python", join(map(isolated, result["hooks"]), ", ") if result.get("hooks") else None),
        ]
    )


def _gate(run: Run) -> Html | None:
    gate = run.result.get("gate")
    if not gate:
        return None
    where = "a fresh process" if gate.get("process") == "fresh" else "the same process"
    same = f"the same {gate['tensors']:,} tensors and " if "tensors" in gate else ""
    off, most = number(gate["difference"], 2), number(gate["tolerance"], 2)
    words = (
        f"Loaded in {where}, the saved model had {same}the same {gate['rows']:,} predictions. The largest difference "
        f"of any output, relative to the outputs' scale, was {off}; {most} is allowed."
    )
    return join([heading("Saved means trained"), paragraph(words)])


def _ledger(run: Run) -> Html | None:
    entries = [
        (entry["phase"], name, code(digest[:SHORT]), "yes" if entry.get("unchanged") else "no")
        for entry in run.result.get("ledger") or ()
        for name, digest in entry.get("frozen", {}).items()
    ]
    if not entries:
        return None
    headers = ["phase", "frozen group", "sha256 before and after", "the same"]
    made = table(headers, entries, "What was frozen, and the hash of its parameters and buffers")
    return join([heading("Frozen means frozen"), details(f"The ledger, {len(entries):,} entries", made)])


def _notes(run: Run) -> Html | None:
    notes = [*(run.result.get("notes") or ()), *(run.result.get("preflight") or ())]
    if not notes:
        return None
    preflight = run.result.get("preflight") or ()
    parts = []
    if run.result.get("notes"):
        parts.append(join([heading("Said while it ran"), listing(isolated(line) for line in run.result["notes"])]))
    if preflight:
        body = listing(isolated(line) for line in preflight)
        parts.append(
            join([heading("What was supervised"), paragraph("The first training rows as the model reads them:"), body])
        )
    return join(parts)


def _missing(run: Run) -> Html | None:
    """Evidence that was not collected, with the reason of each."""
    missing = missing_of(run)
    if not missing:
        return None
    lines = [join([element("strong", name.replace("-", " ")), f": {reason}"]) for name, reason in missing.items()]
    parts = [heading("What this report lacks"), listing(lines)]
    if not run.result.get("merged"):
        parts.append(paragraph("To collect all of it, however long it takes: ", code(how_to_collect(run))))
    return join(parts)


def _recipe(run: Run) -> Html:
    text = (run.path / RECIPE).read_text(encoding="utf-8")
    words = paragraph("Every option with its value; where it was decided for the user, the reason stands beside it.")
    return join([heading("The whole recipe"), words, details(f"{RECIPE}", element("pre", text, tabindex="0"))])


def _again(run: Run) -> Html:
    """The command, or the call where something was given in Python, that makes the run again beside it."""
    words = "To make this run again, with the same data at the same place: "
    if run.result.get("merged"):
        return paragraph(words, code(f"unfreeze merge {typed(run.result['merged'])}"))
    path, folder = run.path / RECIPE, f"{run.path}-again"
    if (run.path / SOUP).exists():
        return paragraph(words, code(_soup(run, folder)))
    if run.result.get("hooks"):
        read = code(f"unfreeze.load_recipe({str(path)!r})")
        return paragraph("No command makes this run again, since it was given hooks in Python. Its recipe: ", read)
    if run.recipe.data.path is None:
        recipe = f"unfreeze.load_recipe({str(path)!r})"
        called = code(f"unfreeze.fit(data, recipe={recipe}, output={folder!r})")
        return paragraph("To make this run again, with the same data passed in Python: ", called)
    return paragraph(words, code(f"unfreeze fit {typed(path)} --output {typed(folder)}"))


def _soup(run: Run, folder: str) -> str:
    """How the runs were averaged, in the order in which they were weighed."""
    soup = run.soup
    runs, greedy = [str(step["run"]) for step in soup["runs"]], soup["kind"] == "greedy"
    if run.recipe.data.path is None:
        return f"unfreeze.soup({runs!r}, {folder!r}, greedy={greedy}, data=data)"
    options = [*(["--greedy"] if greedy else []), "--output", typed(folder)]
    return " ".join(["unfreeze soup", *map(typed, runs), *options])


SECTION = Section(order=150, title="Provenance", render=render)
