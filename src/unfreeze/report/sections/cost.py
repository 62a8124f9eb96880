"""What the run took, and what replay saved of it."""

from __future__ import annotations

from typing import Any

from unfreeze.report._section import Section
from unfreeze.report.html import Html, facts, join, note, number, paragraph, seconds
from unfreeze.run import Run


def render(run: Run) -> Html | None:
    """Time, energy and carbon dioxide, each with where it comes from."""
    cost = run.evidence.get("cost")
    if not cost:
        return None
    told = [
        ("time", seconds(cost["seconds"])),
        ("processor time", seconds(cost["processor_seconds"])),
        ("energy", f"{number(cost['energy_wh'], 2)} Wh"),
        ("carbon dioxide", f"{number(cost['co2_g'], 2)} g"),
        ("of the electricity", f"{number(cost['grams_per_kwh'], 3)} g for a kilowatt-hour: {cost['mix']}"),
    ]
    collected = run.evidence.get("collected") or {}
    if collected.get("seconds"):
        told.append(("for this report, beside", seconds(collected["seconds"])))
    parts: list[Any] = [facts(told)]
    if cost["energy_read"]:
        parts.append(paragraph(f"Energy was read from {cost['energy_source']}, whatever else ran there meanwhile."))
    else:
        parts.append(note(f"Energy was {cost['energy_source']}. It may be off by a factor of three.", "info"))
    replay = cost.get("replay")
    if replay:
        share = replay["flops_saved"] / (replay["flops_saved"] + replay["flops_done"])
        parts.append(
            paragraph(
                f"Layers that stay as they are were computed once for each row and played back: "
                f"{number(replay['flops_saved'] / 1e9, 3)} billion operations, {share:.0%} of what they would have "
                "taken, were not done again."
            )
        )
    if scratch := run.evidence.get("scratch"):
        parts.append(paragraph(f"The same network from random weights took {seconds(scratch['seconds'])} beside."))
    return join(parts)


SECTION = Section(order=130, title="What it cost", render=render)
