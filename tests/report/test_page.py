"""The report: made from the run's files alone, self-contained, in order, and nothing from data is markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from all_evidence import everything, mistakes, per_class
from made import IMAGE, SCRIPT, classes, hostile, numbers, several, write_run
from page import Page, check

import unfreeze
from unfreeze.errors import RunError
from unfreeze.report import SECTIONS
from unfreeze.report.html import element, join, note
from unfreeze.report.page import Part, report, with_pointers, write_report
from unfreeze.run import Run, open_run

FAILED = "could not be made"

ORDER = [
    "Worst mistakes",
    "Where the network looked",
    "Labels that may be wrong",
    "Data",
    "How sure it is",
    "On other data",
    "What was kept of before",
    "Groups and bias",
    "What it cost",
    "Provenance",
]
"""From what is wrong, over what the data are, to what it means elsewhere and what it cost."""


@pytest.mark.parametrize("fixture", ["text_run", "image_run"])
def test_whole_run(fixture: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(fixture)
    page = check((run.path / "report.html").read_text(encoding="utf-8"))
    assert FAILED not in page.text
    wanted = ["Summary", "Beside simpler alternatives", "Learning curves", "Layers", "Labels and errors"]
    assert [title for title in page.headings if title in wanted] == wanted
    assert [title for title in page.headings if title in ORDER] == [title for title in ORDER if title in page.headings]
    assert {"Worst mistakes", "Where the network looked", "Data", "How sure it is"} <= set(page.headings)
    assert page.headings[-2:] == ["What it cost", "Provenance"]
    accuracy = run.result["test"]["accuracy"]["value"]
    assert f"{100 * accuracy:.1f}\u00a0%" in page.text
    assert len(page.source) < 1_000_000


@pytest.mark.parametrize("make", [classes, several, numbers])
def test_each_task(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    page = check(report(write_run(tmp_path / "run", make())))
    assert FAILED not in page.text
    assert "Labels and errors" in page.headings


def test_sections_stand_in_their_order(text_run: Run) -> None:
    page = Page((text_run.path / "report.html").read_text(encoding="utf-8"))
    orders = {section.title: section.order for _, section in SECTIONS.items()}
    told = [orders[title] for title in page.headings]
    assert told == sorted(told)
    links = [each.text for each in page.all("a") if "li" in each.inside and "nav" in each.inside]
    assert links == page.headings


def test_written_again_from_the_folder_alone(text_run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / text_run.path.name
    shutil.copytree(text_run.path, moved, ignore=shutil.ignore_patterns("model", "gate", "report.html"))
    path = write_report(open_run(moved))
    assert path == moved / "report.html"
    page = path.read_text(encoding="utf-8").replace(str(moved), str(text_run.path))  # in commands to type
    assert page == (text_run.path / "report.html").read_text(encoding="utf-8")


def test_without_any_evidence(text_run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "bare"
    shutil.copytree(text_run.path, moved, ignore=shutil.ignore_patterns("model", "gate", "evidence"))
    page = check(report(open_run(moved)))
    assert FAILED not in page.text
    assert {"Summary", "Layers", "Data", "Provenance"} <= set(page.headings)


def test_run_without_test_split(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes())
    result = json.loads((run.path / "result.json").read_text())
    result |= {"validation": result["test"], "test": {}, "rows": {"train": 100, "validation": 200}}
    (run.path / "result.json").write_text(json.dumps(result))
    page = check(report(open_run(run.path)))
    assert "There is no test split" in page.text


def without_rows(folder: Path) -> Run:
    """A run of which all rows were for training."""
    run = write_run(folder, classes(), test={}, validation={}, baseline={"name": "majority class", "test": {}})
    shutil.rmtree(folder / "evidence")
    return changed(run, rows={"train": 100, "validation": 0, "test": 0})


def changed(run: Run, **values: object) -> Run:
    path = run.path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return open_run(run.path)


def test_run_without_any_row_to_judge_by(tmp_path: Path) -> None:
    page = check(report(without_rows(tmp_path / "run")))
    assert FAILED not in page.text
    assert "No rows were held back: nothing can be said of how well it does on others." in page.text
    assert "one of 3 labels and learned from 100 rows" in page.text
    for untrue in ("0 validation rows", "tested on 0", "best epoch was chosen", "read once", "There is no test split"):
        assert untrue not in page.text
    assert "–." not in page.text


def test_unfinished_run_has_no_report(text_run: Run, tmp_path: Path) -> None:
    moved = tmp_path / "unfinished"
    shutil.copytree(text_run.path, moved, ignore=shutil.ignore_patterns("model", "gate", "result.json"))
    with pytest.raises(RunError, match="not finished"):
        write_report(open_run(moved))


def test_damaged_evidence_takes_one_section_and_no_more(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(), {"mistakes": {"split": "test"}})
    page = check(report(run))
    assert page.text.count(FAILED) == 1
    assert page.headings[-1] == "Provenance"


def test_nothing_from_data_is_markup(tmp_path: Path) -> None:
    source = report(hostile(tmp_path / "run"))
    page = check(source)  # no script, no handler, no picture from elsewhere
    assert FAILED not in page.text
    for planted in (SCRIPT, IMAGE):
        assert planted not in source
        assert planted in page.text  # shown literally
    assert page.text.count(SCRIPT) > 50


def test_nothing_from_data_is_markup_in_any_kind_of_evidence(tmp_path: Path) -> None:
    bad = f"{SCRIPT}{IMAGE}"
    labels = [f"a{SCRIPT}", f"b{IMAGE}", "c' onmouseover='x"]
    source = report(hostile(tmp_path / "run", everything(bad, labels)))
    page = check(source)
    assert FAILED not in page.text
    assert [title for title in page.headings if title in ORDER] == ORDER
    for planted in (SCRIPT, IMAGE, bad):
        assert planted not in source
    for name in ("attention", "labels", "groups", "shift", "forgetting", "wise-ft", "layers", "out-of-distribution"):
        (section,) = [each for each in page.all("section") if each.attributes["id"] == name]
        assert SCRIPT in section.text, f"{name} does not show what data say"


def test_policy_forbids_everything_but_the_own_style(text_run: Run) -> None:
    page = Page((text_run.path / "report.html").read_text(encoding="utf-8"))
    policy = next(each.attributes for each in page.all("meta") if "http-equiv" in each.attributes)
    assert policy["http-equiv"] == "Content-Security-Policy"
    digest = base64.b64encode(hashlib.sha256(page.one("style").text.encode()).digest()).decode()
    assert policy["content"].split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    first = [each.tag for each in page.elements[:4]]
    assert first == ["html", "head", "meta", "meta"], "the policy stands before everything that it governs"


@pytest.mark.parametrize("pictures", [False, True])
def test_stays_small_with_many_rows_labels_and_all_evidence(pictures: bool, tmp_path: Path) -> None:
    """100,000 test rows and 1,000 labels, with every kind of evidence as large as it gets."""
    labels = [f"a rather long name of a label, number {number}" for number in range(1000)]
    text = "word " * 139
    more = {
        **everything(text, labels, pictures),
        "per-class": per_class(labels, 100_000),
        "mistakes": mistakes(text, labels, 100_000, pictures),
    }
    made = classes(2000, labels, modality="image" if pictures else "text", quarantined=20_000)
    run = write_run(tmp_path / "run", made, more, rows={"train": 900_000, "validation": 50_000, "test": 100_000})
    left_out = json.dumps({"origin": text, "reason": f"{text}: no label", "row": {}}) + "\n"
    (run.path / "quarantine.jsonl").write_text(left_out * 20_000)
    source = report(run)
    page = check(source)
    assert FAILED not in page.text
    assert [title for title in page.headings if title in ORDER] == ORDER
    assert "100,000 test rows" in page.text
    assert len(source.encode()) < 5_000_000
    assert sum(file.stat().st_size for file in (run.path / "evidence").iterdir()) < 5_000_000
    assert "Confusion matrix" not in source


def test_evidence_that_is_missing_is_told(tmp_path: Path) -> None:
    missing = {"seconds": 1.0, "missing": {"movement": "no time was left for it"}}
    page = check(report(write_run(tmp_path / "run", classes(), {"collected": missing})))
    assert "no time was left for it" in page.text


def test_public_name(text_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unfreeze.write_report(text_run.path) == text_run.path / "report.html"


def test_no_sentence_has_two_spaces_or_loose_brackets(text_run: Run) -> None:
    page = Page((text_run.path / "report.html").read_text(encoding="utf-8"))
    for each in page.all("p", "figcaption", "caption", "h2", "h3"):
        assert not re.search(r"  |\( | \)|\(\)| ,| \.(?:\s|$)", each.text), each.text


def test_summary_points_to_warnings_elsewhere() -> None:
    calm, grave = note("fine", "good"), join([note("one", "warning"), note("two", "bad")])
    parts = [Part("summary", "Summary", calm), Part("data", "Data", calm), Part("groups", "Groups", grave)]
    first, *others = with_pointers(parts)
    assert first.body == f'{calm}<p>More to take care of: <a href="#groups">Groups</a> (2).</p>'
    assert others == parts[1:]
    assert with_pointers(parts[:2]) == parts[:2]
    text = Part("groups", "Groups", element("p", 'class="note bad"'))
    assert with_pointers([parts[0], text]) == [parts[0], text], "what is text is no warning"
