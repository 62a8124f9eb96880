"""How each group of rows fares, how far groups lie apart, and what words that should not matter change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unfreeze.report import Section
from unfreeze.report.html import (
    Bar,
    Html,
    Mark,
    bars,
    code,
    cut,
    details,
    element,
    estimate,
    heading,
    isolated,
    join,
    listing,
    note,
    number,
    paragraph,
    percent,
    table,
)
from unfreeze.report.words import metric, rows
from unfreeze.run import Run

SURE = 0.05

NAMES = {
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
    "selection_rate": "selection rate",
    "overconfidence": "overconfidence",
    "bias": "mean error",
}
SHARES = frozenset(
    (
        "accuracy",
        "balanced_accuracy",
        "subset_accuracy",
        "true_positive_rate",
        "false_positive_rate",
        "selection_rate",
        "ece",
        "overconfidence",
    )
)
CRITERIA = {"equal-opportunity": "equal true positive rates", "equal-selection": "equal selection rates"}


def render(run: Run) -> Html | None:
    """Figures, gaps and thresholds by column, then the swapped words; None where neither was asked for."""
    groups, swaps = run.evidence.get("groups"), run.evidence.get("swaps")
    parts: list[Html | None] = []
    if groups:
        parts.append(_intro(groups))
        for column in groups["columns"]:
            parts += _column(groups, column)
        parts += [_remedies(groups), _thresholds(groups.get("thresholds") or [])]
    if swaps:
        parts += _swaps(swaps)
    return join(parts) if any(part is not None for part in parts) else None


def _intro(found: dict[str, Any]) -> Html:
    positive = found["positive"]
    rates = (
        join([" Rates are those of ", _name(positive), "."])
        if positive is not None
        else " Rates are means over the labels, each against all others."
        if "true_positive_rate" in found["overall"]
        else ""
    )
    return join(
        [
            paragraph(
                f"Figures of the {found['split']} split ({rows(found['rows'])}) by group{_interval(found)}.",
                rates,
            ),
            paragraph(
                f"{found['tests']} gaps were tested against groups of the same sizes drawn at random; chances are "
                "adjusted for that number (Holm). Groups of fewer than 30 rows are shown and not compared, and a gap "
                "between the two groups that lie farthest apart is somewhat too large by its choice."
            )
            if found["tests"]
            else None,
        ]
    )


def _interval(found: dict[str, Any]) -> str:
    known = any(figure["low"] is not None for figure in found["overall"].values())
    return ", each with its 95 % interval" if known else ""


def _column(found: dict[str, Any], column: dict[str, Any]) -> list[Html | None]:
    shown = list(column["groups"][0]["figures"])
    return [
        heading(join(["By ", isolated(column["column"])])),
        _chart(found, column, shown[0]),
        _figures(column, shown),
        _gaps(column),
        _verdict(column),
        _before(found, column),
        _uneven(column),
    ]


def _chart(found: dict[str, Any], column: dict[str, Any], name: str) -> Html:
    """The first figure of each group as bars, with that of all rows as a line."""
    items = [
        Bar(cut(group["name"], 40), *_triple(group["figures"][name]), tone=1 if group["small"] else 0)
        for group in column["groups"]
    ]
    overall = found["overall"][name]["value"]
    title = f"{_called(name).capitalize()} by {cut(column['column'], 40)}"
    reference = None if overall is None else Mark(overall, "all rows")
    return bars(items, title, reference=reference, format=lambda value: _said(name, value))


def _triple(figure: dict[str, Any]) -> tuple[Any, Any, Any]:
    return figure["value"], figure["low"], figure["high"]


def _figures(column: dict[str, Any], shown: Sequence[str]) -> Html:
    body = [
        [
            join([_name(group["name"]), " (few rows)" if group["small"] else None]),
            group["rows"],
            *(_figure(name, group["figures"][name]) for name in shown),
        ]
        for group in column["groups"]
    ]
    return table(["group", "rows", *map(_called, shown)], body, join(["Figures by ", isolated(column["column"])]))


def _gaps(column: dict[str, Any]) -> Html | None:
    """Between which groups each figure differs most."""
    if not column["gaps"]:
        return paragraph("Fewer than two groups have enough rows to be compared.")
    body = [
        [
            _called(name),
            join([_name(gap["highest"]), " and ", _name(gap["lowest"])]) if gap["highest"] != gap["lowest"] else "–",
            _figure(name, gap["difference"]),
            _ratio(gap.get("ratio")),
            _chance(gap.get("p_adjusted")),
        ]
        for name, gap in column["gaps"].items()
    ]
    headers = ("figure", "farthest apart", "difference", "ratio", "chance alone")
    return table(headers, body, join(["Gaps by ", isolated(column["column"])]))


def _ratio(figure: dict[str, Any] | None) -> str:
    return "–" if figure is None else estimate(*_triple(figure))


def _chance(p: float | None) -> str:
    return "–" if p is None else "under 0.1 %" if p < 0.001 else percent(p)


def _verdict(column: dict[str, Any]) -> Html | None:
    """The gaps that chance does not explain."""
    sure = {name: gap for name, gap in column["gaps"].items() if (gap.get("p_adjusted") or 1) < SURE}
    if not sure:
        return None
    said = [
        join([f"{_called(name)}: ", _worst(gap), f", {_figure(name, gap['difference'])} apart"])
        for name, gap in sure.items()
    ]
    return note(join(["These gaps are larger than chance explains: ", join(said, "; "), "."]), "warning")


def _worst(gap: dict[str, Any]) -> Html:
    if "worst" in gap:
        return join(["worst for ", _name(gap["worst"])])
    return join(["highest for ", _name(gap["highest"]), ", lowest for ", _name(gap["lowest"])])


def _before(found: dict[str, Any], column: dict[str, Any]) -> Html | None:
    """Whether fine-tuning widened the gaps."""
    change = column.get("before")
    if change is None:
        return paragraph(f"No comparison with the model before training: {found['before']}.")
    if not change["gaps"]:
        return None
    body = [
        [
            _called(name),
            _figure(name, gap["before"]),
            _figure(name, gap["after"]),
            _figure(name, gap["change"]),
            {"wider": "wider", "narrower": "narrower"}.get(gap["verdict"], "not told from chance"),
        ]
        for name, gap in change["gaps"].items()
    ]
    wider = [_called(name) for name, gap in change["gaps"].items() if gap["verdict"] == "wider"]
    shown = table(
        ("gap of", "before", "after", "change", "verdict"),
        body,
        f"Widest gaps before and after fine-tuning, on {rows(change['rows'])}",
        footnote="Before: a linear model on the features of the pre-trained model, fitted on training rows. Wider or "
        "narrower: by more than chance explains, all these changes taken together (Holm).",
    )
    warned = note(f"Fine-tuning widened the gap in {', '.join(wider)}.", "warning") if wider else None
    return join([shown, warned])


def _uneven(column: dict[str, Any]) -> Html | None:
    found = column.get("uneven") or []
    if not found:
        return None
    body = [
        [
            _name(one["label"]),
            join([_name(one["highest"]["group"]), f" ({percent(one['highest']['rate'])})"]),
            join([_name(one["lowest"]["group"]), f" ({percent(one['lowest']['rate'])})"]),
        ]
        for one in found
    ]
    shown = table(("label", "given most often to", "least often to"), body, "Labels given most unequally often")
    return details("Labels that are given to some groups more often than to others", shown)


def _remedies(found: dict[str, Any]) -> Html | None:
    """What can be tried, where a gap stands."""
    sure = any((gap.get("p_adjusted") or 1) < SURE for column in found["columns"] for gap in column["gaps"].values())
    if not sure:
        return None
    return details(
        "What can be done about a gap",
        join(
            [
                listing(
                    [
                        "Look first whether labels, inputs or the group's rows are at fault: more and better rows of "
                        "the group help most.",
                        join([code("training.sampling=group-balanced"), " draws every group equally often."]),
                        join([code("training.class_weights=group-balanced"), " weighs every group equally."]),
                        join([code("method.group_dro=0.01"), " lets groups that fare worst count more and more."]),
                        join([code("evaluation.metric=worst_group_accuracy"), " chooses the weights by the worst."]),
                    ]
                ),
                paragraph("Each may cost accuracy for all rows; compare the runs."),
            ]
        ),
    )


def _thresholds(found: Sequence[dict[str, Any]]) -> Html | None:
    """What thresholds by group would do, and what they mean."""
    if not found:
        return None
    from unfreeze.evidence._thresholds import CAVEAT

    body = [
        [
            isolated(one["column"]),
            CRITERIA[one["criterion"]],
            *(_figure("accuracy", one[kind]["accuracy"]) for kind in ("without", "with")),
            *(_gap_of(one[kind], one["criterion"]) for kind in ("without", "with")),
        ]
        for one in found
    ]
    headers = ("by", "for", "accuracy, one threshold", "accuracy, by group", "gap, one threshold", "gap, by group")
    limits = [
        [isolated(one["column"]), CRITERIA[one["criterion"]], _name(group), limit]
        for one in found
        for group, limit in one["thresholds"].items()
    ]
    return details(
        "Thresholds by group",
        join(
            [
                paragraph("Chosen on validation, told on the test; the rate is that of the test's groups."),
                table(headers, body, "Decisions with one threshold, and with one for each group"),
                table(("by", "for", "group", "threshold"), limits, "Thresholds on the probability"),
                note(CAVEAT, "warning"),
                paragraph("They are used only where they are asked for, with the group of each row: ", _how(found[0])),
            ]
        ),
    )


def _how(one: dict[str, Any]) -> Html:
    return code(f"run.predict(data, by_group={one['column']!r}, criterion={one['criterion']!r})")


def _gap_of(told: dict[str, Any], criterion: str) -> str:
    name = "true_positive_rate" if criterion == "equal-opportunity" else "selection_rate"
    figure = told["gaps"].get(name)
    return "–" if figure is None else _figure(name, figure)


# ---------------------------------------------------------------------------------------------------------- swaps


def _swaps(found: dict[str, Any]) -> list[Html | None]:
    parts: list[Html | None] = [
        heading("Words that should not matter"),
        paragraph(
            "Each text of the split with one word of a group put in another's place, as often as it stands there. A "
            "changed prediction shows that it hangs on the word itself; a text can also have become odd by the change."
        ),
    ]
    for group in found["groups"]:
        parts += _swapped(found, group)
    return parts


def _swapped(found: dict[str, Any], group: dict[str, Any]) -> list[Html | None]:
    words = join([isolated(word) for word in group["words"]], ", ")
    if not group["variants"]:
        return [paragraph(join(["None of ", words, f" stands in the {rows(found['of'], 'text')}."]))]
    if not group["read"]:
        return [paragraph(join([words, ": no time was left to read the changed texts."]))]
    of = "" if group["read"] == group["variants"] else f" of {group['variants']:,}, drawn at random"
    changed = group["changed"]
    moved = estimate(*_triple(group["shift"]))
    told = (
        f"predictions move by {moved} on average"
        if changed is None
        else f"{_figure('accuracy', changed)} of predictions change, and probabilities move by {moved} on average"
    )
    said = join([words, f": {rows(group['rows'], 'text')}, {group['read']:,} changed forms{of}; {told}."])
    return [paragraph(said), _directions(group), _examples(group)]


def _directions(group: dict[str, Any]) -> Html | None:
    if not group["pairs"]:
        return None
    body = [
        [
            join([isolated(pair["from"]), " → ", isolated(pair["to"])]),
            pair["texts"],
            "–" if pair["changed"] is None else percent(pair["changed"]),
            join(["probability of ", _name(pair["label"])]) if pair["label"] is not None else "prediction",
            estimate(*_triple(pair["shift"])),
        ]
        for pair in group["pairs"]
    ]
    headers = ("word", "texts", "predictions changed", "what moves most", "by, on average")
    return table(headers, body, "Where each word moves predictions")


def _examples(group: dict[str, Any]) -> Html | None:
    if not group["examples"]:
        return None
    cards = [
        element(
            "li",
            element("blockquote", example["text"], dir="auto"),
            paragraph(_answer(example["before"])),
            element("blockquote", example["changed_text"], dir="auto"),
            paragraph(_answer(example["after"])),
            element("p", isolated(example["origin"]), class_="soft"),
        )
        for example in group["examples"]
    ]
    return details("The texts whose predictions move most", element("ol", *cards, class_="cards"))


def _answer(said: dict[str, Any]) -> Html:
    prediction = said["prediction"]
    if isinstance(prediction, list):
        return join(["given ", join([_name(label) for label in prediction], ", ") if prediction else "no label"])
    if "probability" not in said:
        return join(["predicted ", number(prediction)])
    return join(["given ", _name(prediction), f" ({percent(said['probability'])})"])


# ---------------------------------------------------------------------------------------------------------- words


def _name(words: object) -> Html:
    return isolated(cut(str(words), 60))


def _called(name: str) -> str:
    return NAMES.get(name, metric(name).name)


def _said(name: str, value: float) -> str:
    return percent(value) if name in SHARES else number(value, 3)


def _figure(name: str, figure: dict[str, Any]) -> str:
    """A figure with its interval, shares as per cent; marked where it rests on few rows."""
    few = " (few)" if figure.get("few") else ""
    if name not in SHARES or figure["value"] is None:
        return estimate(*_triple(figure)) + few
    low, high = figure["low"], figure["high"]
    reach = f" ({100 * low:.1f} to {100 * high:.1f})" if low is not None and high is not None else ""
    return percent(figure["value"]) + reach.replace("-", "−") + few


SECTION = Section(order=100, title="Groups and bias", render=render)
