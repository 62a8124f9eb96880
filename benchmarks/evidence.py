"""What evidence shows on real data: the tables and example reports of docs/evidence.md.

UNFREEZE_REAL_DATA=… python benchmarks/evidence.py run [part …]   adds what is missing to benchmarks/evidence.jsonl
python benchmarks/evidence.py write                               makes docs/evidence.md from it
"""

from __future__ import annotations

import csv
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sets import MOBILENET, ROOT

import unfreeze
from unfreeze.run import Run

HERE = Path(__file__).parent
RECORDS = HERE / "evidence.jsonl"
DOCS = HERE.parent / "docs"
PAGE = DOCS / "evidence.md"
REPORTS = DOCS / "examples"
SEEDS = (0, 1, 2)
DOMAINS = ("products_amazon", "restaurants_yelp")
METHODS = ("head", "full", "lp-ft", "wise-ft")
MINILM = "all-MiniLM-L6-v2"
FLIPPED = 0.05
LEAKED = 40
LONG = 8
"""Words that a copied row has at least: of two words without the first, nothing could be known again."""

TWEETS = 3000
HATE = {"hateful": "yes", "non-hateful": "no"}
DEFAULT = {"gate": "inline", "evaluation__evidence_share": 0.5}
ALL = {"evaluation__evidence_share": 3.0}
COLUMNS = {"text": "text", "target": "label"}


def domain(name: str) -> str:
    """The folder of one of the three domains of short reviews."""
    return str(ROOT / "data" / "sentiment_3domains" / name)


def shifted(seed: int) -> list[dict[str, Any]]:
    """Movies to learn from, products and restaurants beside the test."""
    found = []
    for method in METHODS:
        run = fit(
            domain("movies_imdb"), seed, method=method, epochs=3, evaluation__shift=[domain(name) for name in DOMAINS]
        )
        shift, calibration = run.evidence["shift"], run.evidence["calibration"]
        found.append(
            {
                "method": method,
                "test": value(run.result["test"], "accuracy"),
                "validation": value(run.result["validation"], "accuracy"),
                "domains": {item["name"]: value(item["metrics"], "accuracy") for item in shift["sets"]},
                "right": rights(run, [Path(domain(name)) for name in DOMAINS]),
                "calibration": calibration,
                "alpha": run.evidence.get("wise-ft", {}).get("alpha"),
            }
        )
    return found


def rights(run: Run, places: Sequence[Path]) -> list[bool]:
    """Whether each test row of some sets is answered rightly: what tells two runs apart row by row."""
    rows = [row for place in places for row in read_tsv(place / "test.tsv")]
    answers = run.predict([text for text, _ in rows])
    return [answer["prediction"] == label for answer, (_, label) in zip(answers, rows, strict=True)]


def flipped(seed: int) -> list[dict[str, Any]]:
    """One label in twenty of the training rows set to another one: how many of them are suspected."""
    rows = {split: banking(split) for split in ("train", "test")}
    draw = random.Random(seed)
    train = draw.sample(rows["train"], 1500)
    labels = sorted({label for _, label in train})
    wrong = set(draw.sample(range(len(train)), int(FLIPPED * len(train))))
    planted = [
        (text, draw.choice([other for other in labels if other != label]) if number in wrong else label)
        for number, (text, label) in enumerate(train)
    ]
    kept = [(text, label) for text, label in rows["test"] if label in set(labels)][:500]
    kept_rows = {"duplicates": "keep", "leaks": "keep"}
    run = fit({"train": planted, "test": kept}, seed, method="head", epochs=5, **ALL, **kept_rows)
    texts = {train[number][0] for number in wrong}
    with (run.path / "evidence" / "labels.csv").open(newline="", encoding="utf-8") as file:
        suspects = [row for row in csv.DictReader(file) if row["split"] == "train"]
    hits = sum(any(text in texts for text in row.values()) for row in suspects)
    return [{"rows": len(train), "planted": len(wrong), "suspected": len(suspects), "found": hits}]


def leaked(seed: int) -> list[dict[str, Any]]:
    """Test rows copied into the training rows, changed in several ways: how many of each the audit finds."""
    rows = {split: read_tsv(Path(domain("movies_imdb")) / f"{split}.tsv") for split in ("train", "validation", "test")}
    before = leaks(rows)
    copies = random.Random(seed).sample([row for row in rows["test"] if len(row[0].split()) > LONG], LEAKED)
    found = []
    for name, change in DISGUISES.items():
        changed = [(change(text), label) for text, label in copies]
        caught = leaks({**rows, "train": [*rows["train"], *changed]}) - before
        found.append({"as": name, "planted": LEAKED, "caught": caught, "of_the_set_itself": before})
    return found


DISGUISES: dict[str, Callable[[str], str]] = {
    "in capitals": str.upper,
    "with a space at the end": lambda text: f"{text} ",
    "without punctuation": lambda text: "".join(letter for letter in text if letter.isalnum() or letter.isspace()),
    "without the first word": lambda text: text.split(maxsplit=1)[1],
    "every fifth word left out": lambda text: " ".join(word for n, word in enumerate(text.split()) if n % 5 < 4),
}


def leaks(rows: dict[str, list[tuple[str, str]]]) -> int:
    """Rows that the audit leaves out since their input stands in a later split."""
    findings = unfreeze.inspect_data(rows).manifest.findings
    return sum(finding.count for finding in findings if finding.kind == "leak")


def biased(seed: int) -> list[dict[str, Any]]:
    """Tweets as offensive or not, scored on statements about groups of people, with and without a remedy."""
    tweets = read_csv(ROOT / "data" / "hate_speech_fairness" / "davidson_tweets.csv")
    draw = random.Random(seed)
    rows = [{"text": row["tweet"], "label": "no" if row["class"] == "2" else "yes", "about": "-"} for row in tweets]
    rows = draw.sample(rows, TWEETS)
    cases = read_csv(ROOT / "data" / "hate_speech_fairness" / "hatecheck_test_suite_cases.csv")
    checks = [
        {"text": row["test_case"], "label": HATE[row["label_gold"]], "about": row["target_ident"]}
        for row in cases
        if row["target_ident"]
    ]
    draw.shuffle(checks)
    half = len(checks) // 2
    data = {"train": rows, "validation": checks[: half // 2], "test": checks[half:]}
    balanced = {**data, "train": [*rows, *checks[half // 2 : half]]}
    found = []
    for name, given, options in (
        ("as it is", data, {}),
        ("with statements about the groups among the rows", balanced, {}),
        ("the same, every group drawn equally often", balanced, {"sampling": "group-balanced"}),
    ):
        run = fit(given, seed, method="full", epochs=2, evaluation__slices=["about"], **COLUMNS, **options)
        accuracy = value(run.result["test"], "accuracy")
        found.append({"name": name, "groups": run.evidence["groups"], "test": accuracy})
    return found


def reports(seed: int) -> list[dict[str, Any]]:
    """Three example reports: texts, photos, and texts with a column of groups."""
    REPORTS.mkdir(exist_ok=True)
    photos = {"epochs": 3, **{key: item for key, item in MOBILENET.items() if key != "model"}}
    rows = [
        {"text": text, "label": "good" if label == "1" else "bad", "domain": name}
        for name in ("movies_imdb", *DOMAINS)
        for text, label in read_tsv(Path(domain(name)) / "train.tsv")
    ]
    made = {
        "report-text": (domain("restaurants_yelp"), {"method": "lora", "evaluation__shift": [domain("movies_imdb")]}),
        "report-images": (str(ROOT / "data" / "flowers5"), {"method": "head", "model": MOBILENET["model"], **photos}),
        "report-groups": (rows, {"method": "head", "evaluation__slices": ["domain"], **COLUMNS}),
    }
    found = []
    for name, (data, options) in made.items():
        run = fit(data, seed, **ALL, **options)
        place = REPORTS / f"{name}.html"
        place.write_text(anywhere((run.path / "report.html").read_text(encoding="utf-8"), run), encoding="utf-8")
        found.append({"name": name, "bytes": place.stat().st_size, "evidence": sorted(run.evidence)})
    return found


def anywhere(page: str, run: Run) -> str:
    """A page without the folders of the machine that made it."""
    folders = {str(ROOT.resolve()): "real", str(ROOT): "real", str(run.path.parent): "runs"}
    for folder, name in folders.items():
        page = page.replace(folder, name)
    return page


PARTS: dict[str, tuple[Callable[[int], list[dict[str, Any]]], Sequence[int]]] = {
    "shifted": (shifted, SEEDS),
    "flipped": (flipped, SEEDS),
    "leaked": (leaked, SEEDS),
    "biased": (biased, SEEDS),
    "reports": (reports, (0,)),
}


def fit(data: Any, seed: int, model: str = MINILM, **options: Any) -> Run:
    """A run in a folder of its own, with time for the evidence that the page needs."""
    folder = tempfile.mkdtemp(prefix="evidence-")
    return unfreeze.fit(data, model, seed=seed, output=f"{folder}/{options['method']}", **{**DEFAULT, **options})


def value(figures: dict[str, Any], name: str) -> float:
    """A figure's estimate."""
    return float(figures[name]["value"])


def banking(split: str) -> list[tuple[str, str]]:
    """Customers' sentences by intent."""
    return [(row["text"], row["category"]) for row in read_csv(ROOT / "data" / "banking77" / f"{split}.csv")]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Every row."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_tsv(path: Path) -> list[tuple[str, str]]:
    """Text and label of every row."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def run(names: Sequence[str]) -> None:
    """Run what is not recorded yet."""
    done = {(record["part"], record["seed"]) for record in records()}
    for name in names:
        make, seeds = PARTS[name]
        for seed in seeds:
            if (name, seed) not in done:
                record = {"part": name, "seed": seed, "found": make(seed)}
                with RECORDS.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(name, seed, flush=True)


def records() -> list[dict[str, Any]]:
    """What has been measured so far."""
    return [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []


def spread(values: Sequence[float], scale: float = 100.0, digits: int = 1) -> str:
    """Mean ± standard deviation."""
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        from evidence_page import write

        write()
    elif sys.argv[1:2] == ["run"]:
        run(sys.argv[2:] or list(PARTS))
    else:
        print(__doc__)
        sys.exit(2)
