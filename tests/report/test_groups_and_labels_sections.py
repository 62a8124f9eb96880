"""The sections on groups, swapped words and suspected labels: what they say of a run, and that data stay text."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from page import Page
from small import fit_text

from unfreeze.report.sections import groups, labels
from unfreeze.run import Run

sys.path.insert(0, str(Path(__file__).parent.parent / "evidence"))  # planted.py and collecting.py

SCRIPT = "<script>alert(1)</script>"
WORD = "<b>good"


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Markup in everything that comes from the data: a group's name, its column, labels, texts, words."""
    from collecting import ASKED, only
    from planted import planted

    rows = [
        {
            "text": row["text"].replace("good", WORD) + f" {SCRIPT}",
            "label": f"{SCRIPT}{row['label']}" if number % 30 else f"{SCRIPT}film",
            "<i>style": SCRIPT if row["style"] == "odd" else row["style"],
            "split": row["split"],
        }
        for number, row in enumerate(planted(800))
    ]
    with only("groups", "swaps", "labels"):
        options: dict[str, Any] = {"slices": ["<i>style"], "swaps": [[WORD, "bad"]], "epochs": 2, "method": "full"}
        return fit_text(home, tmp_path_factory.mktemp("sections") / "run", data=rows, **options, **ASKED)


def shown(section: Any, run: Any) -> Page:
    html = section.SECTION.render(run)
    assert html is not None
    page = Page(str(html))
    assert not page.all("script", "b", "i"), "text from data became markup"
    assert not [each for each in page.elements if "style" in each.attributes or "onerror" in each.attributes]
    return page


def text_of(page: Page) -> str:
    return " ".join(each.text for each in page.elements if not each.inside)


def test_groups_and_swaps(run: Run) -> None:
    page = shown(groups, run)
    text = text_of(page)
    assert SCRIPT in text
    assert "By <i>style" in text
    captions = [each.text for each in page.all("caption")]
    assert [
        name
        for name in ("Figures by <i>style", "Gaps by <i>style", "Where each word moves predictions")
        if name in captions
    ]
    assert any("before and after fine-tuning" in caption for caption in captions)
    assert "Deciding by group membership" in text
    assert f"{WORD} → bad" in text


def test_labels(run: Run) -> None:
    page = shown(labels, run)
    text = text_of(page)
    assert "evidence/labels.csv" in text
    assert "data.drop_suspects=" in text
    assert f"--set data.drop_suspects={run.path}/evidence/labels.csv" in text, "as it is typed"
    assert [each.text for each in page.all("h3")] == ["Validation and test", "Training"]


def changed(run: Run, **evidence: Any) -> Any:
    return SimpleNamespace(evidence={**deepcopy(run.evidence), **evidence}, path=run.path, manifest=run.manifest)


def test_a_gap_that_stands_is_a_warning_with_remedies(run: Run) -> None:
    found = deepcopy(run.evidence["groups"])
    for gap in found["columns"][0]["gaps"].values():
        gap.pop("p_adjusted", None)
    assert "larger than chance explains" not in text_of(shown(groups, changed(run, groups=found)))
    found["columns"][0]["gaps"]["accuracy"]["p_adjusted"] = 0.004
    text = text_of(shown(groups, changed(run, groups=found)))
    assert "These gaps are larger than chance explains: accuracy: worst for" in text
    assert "training.sampling=group-balanced" in text


def test_a_gap_that_fine_tuning_widened_is_a_warning(run: Run) -> None:
    found = deepcopy(run.evidence["groups"])
    for name, gap in found["columns"][0]["before"]["gaps"].items():
        gap["verdict"] = "wider" if name == "accuracy" else "narrower"
    assert "Fine-tuning widened the gap in accuracy." in text_of(shown(groups, changed(run, groups=found)))


def test_a_weak_judge_is_a_warning(run: Run) -> None:
    found = deepcopy(run.evidence["labels"])
    found["parts"]["train"]["agreement"] = 0.4
    assert "many suspects will be its own mistakes" in text_of(shown(labels, changed(run, labels=found)))
    assert "No label is suspected" in text_of(shown(labels, changed(run, labels={**found, "suspects": 0})))


def test_nothing_to_show() -> None:
    empty: Any = SimpleNamespace(evidence={})
    assert groups.SECTION.render(empty) is None
    assert labels.SECTION.render(empty) is None


def test_without_resamples_there_are_figures_and_no_intervals(home: Path, tmp_path: Path) -> None:
    from collecting import ASKED, only
    from planted import planted

    with only("groups", "labels"):
        options: dict[str, Any] = {**ASKED, "evaluation__bootstrap": 0, "slices": ["style", "age"], "epochs": 1}
        run = fit_text(home, tmp_path / "run", data=planted(600), **options)
    figure = run.evidence["groups"]["columns"][0]["groups"][0]["figures"]["accuracy"]
    assert figure["value"] is not None
    assert figure["low"] is None
    text = text_of(shown(groups, run))
    assert "chance alone" in text
    assert "95 % interval." not in text
