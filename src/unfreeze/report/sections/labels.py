"""Labels that may be wrong, with their inputs, and how to review them."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Html,
    code,
    cut,
    details,
    element,
    estimate,
    heading,
    isolated,
    join,
    note,
    number,
    paragraph,
    percent,
    table,
)
from unfreeze.report.sections.mistakes import shown_input
from unfreeze.report.words import rows, typed
from unfreeze.run import Run

JUDGES = {
    "held back": "Rows held back for validation and test, judged by the fine-tuned model, which has not learned them.",
    "train": "Training rows. The fine-tuned model has learned them, perhaps by heart; so each was judged by a linear "
    "model on the features of the model before training that was fitted without the row.",
}
TITLES = {"held back": "Validation and test", "train": "Training"}

WEAK = 0.7
"""Agreement below which a judge is too weak to say much."""


FOUND_BY = {
    "cleanlab": " by cleanlab",
    "distance": " since they lie far from what is predicted",
    "rule": " by the rule of confident learning (there was no time to load cleanlab, which rounds it "
    "somewhat differently)",
}


def render(run: Run) -> Html | None:
    """How many labels are suspected, which ones, and what to do about them."""
    found = run.evidence.get("labels")
    if not found or not found["parts"]:
        return None
    parts: list[Html | None] = [_intro(run, found)]
    for name, part in found["parts"].items():
        parts += [
            heading(TITLES[name]),
            paragraph(JUDGES[name]),
            _counts(part),
            _weak(part),
            _pairs(part),
            _worst(part),
        ]
    parts += [paragraph(f"Training rows were not judged: {why}.") for why in found["left_out"].values()]
    return join(parts)


def _intro(run: Run, found: dict[str, Any]) -> Html:
    if not found["suspects"]:
        return paragraph("No label is suspected to be wrong.")
    setting = f"data.drop_suspects={run.path / 'evidence' / found['file']}"
    words = "1 label is" if found["suspects"] == 1 else f"{found['suspects']:,} labels are"
    return join(
        [
            paragraph(
                f"{words} suspected to be wrong{FOUND_BY[found['judge']]}. Rows that are hard but rightly labelled are "
                "among them, so that a person has to look."
            ),
            paragraph(
                "All of them stand in ",
                code(f"evidence/{found['file']}"),
                ". Write yes (the label is right) or no into its column ",
                code("keep"),
                ", then train again with ",
                code(f"--set {typed(setting)}"),
                ": suspects of training are left out unless you keep them, those of validation and test only where "
                "you wrote no.",
            ),
        ]
    )


def _counts(part: dict[str, Any]) -> Html:
    judged = ", ".join(f"{count:,} of {rows(part['of'][split])} of {split}" for split, count in part["rows"].items())
    said: list[object] = [f"{part['suspects']:,} suspects ({percent(part['share'])}) among {judged}."]
    estimated = part.get("estimated")
    if estimated and estimated["value"] is not None:
        low, high = estimated["low"], estimated["high"]
        reach = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
        said.append(
            f" Estimated share of wrong labels: {percent(estimated['value'])}{reach}. The interval is that of chance "
            "in the choice of rows; a judge that is unsure finds too few, one that is surely wrong too many."
        )
    return paragraph(*said)


def _weak(part: dict[str, Any]) -> Html | None:
    agreement = part.get("agreement")
    if agreement is not None and agreement < WEAK:
        text = f"The judge agrees with only {percent(agreement)} of the labels: many suspects will be its own mistakes."
        return note(text, "warning")
    if part.get("r2") is not None and part["r2"] < 0.3:
        return note(f"The judge explains little (R² {estimate(part['r2'])}): its suspects say little.", "warning")
    return None


def _pairs(part: dict[str, Any]) -> Html | None:
    pairs = part.get("pairs") or []
    if not pairs:
        return None
    body = [[_name(pair["given"]), _name(pair["suggested"]), pair["rows"]] for pair in pairs]
    return details("By label", table(("given", "suggested", "rows"), body, "Suspects by label"))


def _worst(part: dict[str, Any]) -> Html | None:
    if not part["examples"]:
        return None
    cards = [element("li", *_card(example)) for example in part["examples"]]
    return join([paragraph("The worst:"), element("ol", *cards, class_="cards")])


def _card(example: dict[str, Any]) -> list[Html]:
    said = join(["given ", _strong(example["given"]), ", suggested ", _strong(example["suggested"])])
    origin = join([isolated(example["origin"]), f" ({example['split']}), label quality {number(example['score'], 2)}"])
    return [*shown_input(example), paragraph(said), element("p", origin, class_="soft")]


def _strong(words: str) -> Html:
    return element("strong", _name(words) if words else "no label")


def _name(words: str) -> Html:
    return isolated(cut(words, 60))


SECTION = Section(order=66, title="Labels that may be wrong", render=render)
