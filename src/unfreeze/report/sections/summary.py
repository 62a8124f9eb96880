"""What the model does and how well, in one sentence, and what a reader should know before trusting it."""

from __future__ import annotations

from typing import Any

from unfreeze.report import Section
from unfreeze.report.findings import findings
from unfreeze.report.html import Html, element, headline, isolated, join, note, percent, scored, seconds
from unfreeze.report.words import judged, metric, rows, value
from unfreeze.run import Run


def render(run: Run) -> Html:
    """The sentence, the figures that matter, and the findings as short notes."""
    notes = [note(found.text, found.kind) for found in findings(run)]
    return join([paragraph_of(run), _figures(run), *notes])


def paragraph_of(run: Run) -> Html:
    """One sentence with its interval, and one with the simplest alternative; without any held back row, that."""
    if not run.result[judged(run.result)]:
        return element("p", _untested(run), class_="lead")
    return element("p", _what(run), " ", _against(run), " ", _unseen(run), class_="lead")


def _what(run: Run) -> Html:
    result = run.result
    split = judged(result)
    count = rows(result["rows"].get(split, 0), f"{split} row")
    figures = result[split]
    source = "texts" if run.manifest.modality == "text" else "images"
    if "accuracy" in figures:
        share, reach = _share(figures["accuracy"])
        labels = len(run.manifest.labels)
        begin = f"This model gives {source} one of {labels:,} labels, and is right for "
        return join([begin, share, f" of {count}{reach}."])
    if "mean_average_precision" in figures:
        found = _strong(scored(figures["mean_average_precision"]))
        begin = (
            f"This model gives {source} any of {len(run.manifest.labels):,} labels, with a mean average precision of "
        )
        return join([begin, found, f" on {count}."])
    if "mae" in figures:
        target = [column.name for column in run.manifest.columns if column.role == "target"]
        named = join(["“", isolated(target[0]), "”"]) if len(target) == 1 else "a number"
        found = _strong(scored(figures["mae"]))
        return join(
            ["This model predicts ", named, f" from {source}; it is off by ", found, f" on average over {count}."]
        )
    name = result["metric"]
    return join(
        [f"This model was tested on {count}: {metric(name).name} ", _strong(value(name, figures.get(name))), "."]
    )


def _untested(run: Run) -> str:
    source = "texts" if run.manifest.modality == "text" else "images"
    labels = len(run.manifest.labels)
    kinds = {
        "classification": f"gives {source} one of {labels:,} labels",
        "multilabel": f"gives {source} any of {labels:,} labels",
        "regression": f"predicts a number from {source}",
    }
    learned = rows(run.result["rows"].get("train", 0), "row")
    return (
        f"This model {kinds.get(run.manifest.task, f'reads {source}')} and learned from {learned}. No rows were held "
        "back: nothing can be said of how well it does on others."
    )


def _share(figure: dict[str, Any]) -> tuple[Html, str]:
    reach = ""
    if figure.get("low") is not None:
        reach = f" (95 % interval {percent(figure['low'])} to {percent(figure['high'])})"
    return element("strong", percent(figure["value"])), reach


def _strong(words: str) -> Html:
    value_, _, rest = words.partition(" ")
    return join([element("strong", value_), f" {rest.replace('(', '(95 % interval ')}" if rest else ""])


def _against(run: Run) -> str:
    baseline = run.result.get("baseline") or {}
    figures, name = baseline.get("test") or {}, str(baseline.get("name", ""))
    if "accuracy" in figures:
        return f"Always answering the most frequent label is right for {percent(figures['accuracy']['value'])}."
    if "mean_average_precision" in figures:
        return (
            f"Always answering with the labels' frequencies gives {scored(figures['mean_average_precision']['value'])}."
        )
    if "mae" in figures:
        return f"Always answering the training rows' mean is off by {scored(figures['mae']['value'])}."
    return f"The simplest alternative, {name}, is in the next section." if figures else ""


def _unseen(run: Run) -> str:
    if judged(run.result) == "test":
        return "The test rows were read once, after everything was decided."
    return (
        "There is no test split: these are the validation rows, by which the best epoch was chosen, so it may do worse."
    )


def _figures(run: Run) -> Html:
    result = run.result
    split, name = judged(result), result["metric"]
    chosen = result[split].get(name)
    share = result["learned_parameters"] / max(1, result["parameters"])
    learned = join(
        [f"{result['learned_parameters']:,}", element("small", f"of {result['parameters']:,} ({percent(share, 2)})")]
    )
    others = [each for each in ("balanced_accuracy", "macro_f1", "nll", "ece", "rmse", "r2") if each in result[split]]
    second = next((each for each in others if each != name), None)
    return headline(
        [
            (f"{metric(name).name} (decides)", _large(name, chosen)),
            (metric(second).name, _large(second, result[split][second])) if second else ("", None),
            ("rows for training", f"{result['rows'].get('train', 0):,}"),
            ("parameters that learned", learned),
            ("time", seconds(result.get("seconds"))),
        ]
    )


def _large(name: str, figure: Any) -> Html | None:
    if not figure:
        return None
    shown, _, reach = value(name, figure).partition(" (")
    return join([shown, element("small", reach.removesuffix(")")) if reach else None])


SECTION = Section(order=10, title="Summary", render=render)
