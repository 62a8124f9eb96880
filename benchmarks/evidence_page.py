"""docs/evidence.md from benchmarks/evidence.jsonl: generated tables, each with what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from evidence import DOMAINS, FLIPPED, LEAKED, METHODS, PAGE, TWEETS, records, spread
from unfreeze.evaluation.paired import chance_of_gain

SURE = 0.05

Found = list[list[dict[str, Any]]]
"""Of each seed, what a part found."""


def write() -> None:
    """The whole page."""
    by_part: dict[str, Found] = {}
    for record in sorted(records(), key=lambda record: record["seed"]):
        by_part.setdefault(record["part"], []).append(record["found"])
    makers = {"shifted": _shifted, "flipped": _flipped, "leaked": _leaked, "biased": _biased, "reports": _reports}
    parts = [HEAD, *("\n".join(make(by_part[name])) for name, make in makers.items() if name in by_part)]
    PAGE.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


HEAD = """# What evidence shows on real data

Made by `python benchmarks/evidence.py run` and `… write` from `benchmarks/evidence.jsonl`, with several seeds where a
spread is given (mean ± standard deviation; each part says how many).
No setting was tuned on any figure of this page."""


def _shifted(found: Found) -> Iterator[str]:
    yield "## Fine-tuning and what it costs elsewhere"
    yield ""
    yield (
        "MiniLM learns the sentiment of film reviews (3 epochs, "
        + f"{len(found)} seeds"
        + ") and is scored on its own test rows and on reviews of "
        "other things. Accuracy in percent; the mixture of `wise-ft` is chosen on validation rows of the films."
    )
    yield ""
    yield f"| method | films | {' | '.join(name.replace('_', ' ') for name in DOMAINS)} | mean of the others |"
    yield f"|---|---|{'---|' * len(DOMAINS)}---|"
    means: dict[str, tuple[float, float]] = {}
    for method in METHODS:
        rows = [row for seed in found for row in seed if row["method"] == method]
        own = [row["test"] for row in rows]
        others = [[_domain(row, name) for row in rows] for name in DOMAINS]
        together = [sum(values) / len(values) for values in zip(*others, strict=True)]
        means[method] = (sum(own) / len(own), sum(together) / len(together))
        yield f"| {method} | {spread(own)} | {' | '.join(map(spread, others))} | {spread(together)} |"
    yield ""
    yield "; ".join(_claim(name, means, _row_by_row(found, name)) for name in ("lp-ft", "wise-ft")) + "."
    yield ""
    yield "Calibration of the same runs on the test rows (expected calibration error in percent):"
    yield ""
    yield "| method | as trained | with the temperature from validation |"
    yield "|---|---|---|"
    gains: list[float] = []
    for method in METHODS:
        rows = [row for seed in found for row in seed if row["method"] == method]
        sides = [[_ece(row, side) for row in rows] for side in ("before", "after")]
        gains += [was - now for was, now in zip(*sides, strict=True)]
        yield f"| {method} | {' | '.join(map(spread, sides))} |"
    yield ""
    better = sum(gain > 0 for gain in gains)
    yield (
        f"The temperature made the error smaller in {better} of {len(gains)} runs, by {spread(gains)} points. "
        + ("As its source promises." if better > 0.75 * len(gains) else HARDLY)
    )


def _domain(row: dict[str, Any], name: str) -> float:
    return float(next(value for key, value in row["domains"].items() if name in key))


def _ece(row: dict[str, Any], side: str) -> float:
    figures = row["calibration"]["splits"][row["calibration"]["judged"]]
    return float(figures.get(side, figures["before"])["ece"]["value"])


HARDLY = (
    "Its source promises more, for larger networks that were trained for long: these runs are short and err little, "
    "and so few validation rows fix a temperature only roughly."
)


def _claim(name: str, means: dict[str, tuple[float, float]], chance: float) -> str:
    """What the sources say of a method beside full fine-tuning, and whether it held here."""
    (own, other), (full_own, full_other) = means[name], means["full"]
    held = "which held here" if other > full_other else "which did not hold here"
    sure = "more than chance explains" if chance < SURE else "which chance alone may explain"
    away, home = 100 * (other - full_other), 100 * (own - full_own)
    return (
        f"{name} beside full: {away:+.1f} points on the other domains, {sure} (p = {chance:.2g}, row by row). "
        f"Its source promises a gain there, {held}. On the films {home:+.1f}"
    )


def _row_by_row(found: Found, name: str) -> float:
    """How often chance gives a difference as large from full fine-tuning, for the mean over seeds of each row."""
    rights = {
        method: [row["right"] for seed in found for row in seed if row["method"] == method] for method in (name, "full")
    }
    return chance_of_gain(np.mean(rights[name], axis=0) - np.mean(rights["full"], axis=0))


def _flipped(found: Found) -> Iterator[str]:
    rows = [row for seed in found for row in seed]
    yield "## Planted label errors"
    yield ""
    yield (
        f"{FLIPPED:.0%} of {rows[0]['rows']} training rows of banking77 got another label ({len(rows)} seeds). Found: "
        "the share of them that stands in `labels.csv`; right: the share of the suspects that were planted (the set "
        "has its own errors)."
    )
    yield ""
    yield "| planted | suspected | found | right |"
    yield "|---|---|---|---|"
    recall = [row["found"] / row["planted"] for row in rows]
    precision = [row["found"] / max(1, row["suspected"]) for row in rows]
    suspected = spread([row["suspected"] for row in rows], 1, 0)
    yield f"| {rows[0]['planted']} | {suspected} | {spread(recall)} % | {spread(precision)} % |"


def _leaked(found: Found) -> Iterator[str]:
    own = found[0][0]["of_the_set_itself"]
    yield "## A planted leak"
    yield ""
    yield (
        f"{LEAKED} test rows of the film reviews were copied among the training rows ({len(found)} seeds). Before any "
        "training the audit left out so many of them" + (f", beside {own} that the set itself repeats:" if own else ":")
    )
    yield ""
    yield "| copied | planted | left out |"
    yield "|---|---|---|"
    for number, first in enumerate(found[0]):
        caught = spread([seed[number]["caught"] for seed in found], 1, 0)
        yield f"| {first['as']} | {first['planted']} | {caught} |"


def _biased(found: Found) -> Iterator[str]:
    yield "## A biased set"
    yield ""
    yield (
        f"{TWEETS} tweets, labelled as offensive or hateful (yes) or neither (no), teach MiniLM (full, 2 epochs; "
        f"seeds: {len(found)}); it "
        "is scored on statements about groups of people (HateCheck). The false positive rate is how often an innocent "
        "statement about a group is called offensive; the gap is that between the highest and the lowest group."
    )
    yield ""
    yield "| trained on | accuracy | highest false positive rate | gap of false positive rates |"
    yield "|---|---|---|---|"
    for number, first in enumerate(found[0]):
        rows = [seed[number] for seed in found]
        rates = [_rates(row) for row in rows]
        yield (
            f"| {first['name']} | {spread([row['test'] for row in rows])} | {spread([max(each) for each in rates])} | "
            f"{spread([max(each) - min(each) for each in rates])} |"
        )


def _rates(row: dict[str, Any]) -> list[float]:
    groups = [group for column in row["groups"]["columns"] for group in column["groups"] if not group["small"]]
    rates = [group["figures"]["false_positive_rate"]["value"] for group in groups]
    return [float(rate) for rate in rates if rate is not None]  # a group may have no innocent rows


def _reports(found: Found) -> Iterator[str]:
    yield "## Example reports"
    yield ""
    yield (
        "With time for all evidence (`evaluation.evidence_share=3`); by default such short runs give it a tenth of "
        "their time, and leave the rest to `unfreeze report RUN --again`."
    )
    yield ""
    about = {
        "report-text": "restaurant reviews by LoRA, with film reviews as another domain",
        "report-images": "photos of flowers, the head alone",
        "report-groups": "reviews of three kinds of things, with figures for each kind",
    }
    for row in found[0]:
        yield f"- [{about[row['name']]}](examples/{row['name']}.html), {row['bytes'] / 1e6:.1f} MB"
