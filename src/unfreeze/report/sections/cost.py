"""What the run took, and what replay and the pre-trained weights saved of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        ("of which learning", seconds(cost.get("learning_seconds"))),
        ("processor time", seconds(cost["processor_seconds"])),
        ("energy", f"{number(cost['energy_wh'], 2)} Wh"),
        *_components(cost),
        ("carbon dioxide", f"{number(cost['co2_g'], 2)} g"),
        ("of the electricity", f"{number(cost['grams_per_kwh'], 3)} g for a kilowatt-hour: {cost['mix']}"),
    ]
    collected = run.evidence.get("collected") or {}
    if collected.get("seconds"):
        told.append(("for this report, beside", seconds(collected["seconds"])))
    return join([facts(told), *_doubts(cost), _replay(cost), _from_scratch(run, cost)])


def _components(cost: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in cost.get("components") or ():
        wh = "" if part["joules"] is None else f"{number(part['joules'] / 3600, 2)} Wh, "
        yield f"… of the {part['name']}", f"{wh}{part['said']}"


def _doubts(cost: Mapping[str, Any]) -> Iterator[Html]:
    parts = cost.get("components") or ()
    if any(part["how"] == "estimated" for part in parts):
        yield note("What was estimated of the energy may be off by a factor of three.", "info")
    left_out = [str(part["name"]) for part in parts if part["how"] == "not counted"]
    if left_out:
        yield note(
            f"The {' and the '.join(left_out)} could not be read and is in none of these figures of energy and carbon "
            "dioxide, though most of the work was done there: they are far too low.",
            "warning",
        )


def _replay(cost: Mapping[str, Any]) -> Html | None:
    replay = cost.get("replay")
    if not replay:
        return None
    share = replay["flops_saved"] / (replay["flops_saved"] + replay["flops_done"])
    return paragraph(
        "Layers that stay as they are were computed once for each row and played back: "
        f"{number(replay['flops_saved'] / 1e9, 3)} billion operations, {share:.0%} of what they would have "
        f"taken, were not done again{_as_much(replay, ': about ')}."
    )


def _from_scratch(run: Run, cost: Mapping[str, Any]) -> Html | None:
    """What all layers from random weights would have taken as long; and where they were trained so, what they took."""
    instead, tried = cost.get("from_scratch"), run.evidence.get("scratch")
    parts: list[Html] = []
    if instead:
        took = seconds(cost.get("learning_seconds"))
        parts.append(
            paragraph(
                f"Training all layers from random weights for as many epochs ({instead['epochs']:.3g}) would have "
                f"taken {number(instead['flops'] / 1e9, 3)} billion operations{_as_much(instead, ', about ')}; "
                f"learning took {took} here. How good such a network is by then, evaluation.scratch tells; the "
                "pre-trained weights also save the time in which they were made."
            )
        )
    if tried:
        parts.append(paragraph(f"The same network from random weights took {seconds(tried['seconds'])} beside."))
    return join(parts) if parts else None


def _as_much(saved: Mapping[str, Any], before: str) -> str:
    """Seconds and carbon dioxide, where they could be estimated."""
    if saved.get("seconds") is None:
        return ""
    told = f"{before}{seconds(saved['seconds'])} and {number(saved['co2_g'], 2)} g of carbon dioxide"
    return f"{told}, by the time in which the test rows were scored"


SECTION = Section(order=130, title="What it cost", render=render)
