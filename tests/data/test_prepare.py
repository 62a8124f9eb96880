"""From rows to splits: nothing is lost, nothing leaks, and the same seed gives the same splits."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfreeze.data.audit import longer_than_model
from unfreeze.data.io import read_manifest, write_manifest, write_quarantine
from unfreeze.data.manifest import SPLITS, Examples, Prepared, Quarantined
from unfreeze.data.prepare import inputs_of, labelled, prepare
from unfreeze.errors import DataError
from unfreeze.recipe import DataRecipe

WORDS = ["amber", "brook", "cedar", "delta", "ember", "frost", "grove", "haven", "islet", "jolly", "knoll", "lemon"]


def sentence(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=9))


def rows(count: int, classes: int = 2, start: int = 0) -> list[tuple[str, str]]:
    return [(sentence(start + i), f"c{i % classes}") for i in range(count)]


def ready(objects: object, *, task: str | None = None, seed: int = 0, **options: Any) -> Prepared:
    return prepare(DataRecipe(**options), task=task, seed=seed, objects=objects)


def kinds(prepared: Prepared) -> set[str]:
    return {finding.kind for finding in prepared.manifest.findings}


def where(prepared: Prepared) -> dict[object, str]:
    return {item: split for split, part in prepared.splits.items() for item in part.inputs}


def columns(data: list[tuple[str, str]], **more: list[Any]) -> dict[str, list[Any]]:
    return {"text": [text for text, _ in data], "label": [label for _, label in data], **more}


# splits


def test_each_class_has_its_share() -> None:
    prepared = ready(rows(400, 4))
    assert prepared.manifest.rows == {"train": 280, "validation": 60, "test": 60}
    assert prepared.manifest.counts["test"] == {"c0": 15, "c1": 15, "c2": 15, "c3": 15}
    assert "drawn by seed 0" in prepared.manifest.split_reason


def test_small_classes_are_in_every_split() -> None:
    prepared = ready([*rows(100), *[(sentence(900 + i), "small") for i in range(3)]])
    assert [prepared.manifest.counts[split]["small"] for split in SPLITS] == [1, 1, 1]


def test_splits_do_not_depend_on_the_order_of_rows() -> None:
    data = rows(120, 3)
    assert where(ready(data)) == where(ready(data[::-1]))
    assert where(ready(data)) != where(ready(data, seed=1))


def test_splits_do_not_depend_on_the_process() -> None:
    code = (
        "from unfreeze.data.prepare import prepare; from unfreeze.recipe import DataRecipe;"
        "rows = [(f'text number {i} of many', f'c{i % 3}') for i in range(60)];"
        "print(prepare(DataRecipe(), task=None, seed=0, objects=rows).manifest.fingerprint)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


def test_numbers_are_split_over_their_whole_range() -> None:
    data = {"text": [sentence(i) for i in range(200)], "score": [i + 0.5 for i in range(200)]}
    prepared = ready(data)
    assert prepared.manifest.task == "regression"
    for part in prepared.splits.values():
        assert min(part.targets) < 30
        assert max(part.targets) > 170
    train = prepared.splits["train"].targets
    assert prepared.manifest.target_mean == pytest.approx(sum(train) / len(train))


def test_a_group_is_never_shared() -> None:
    data = columns(rows(200), who=[f"p{i // 5}" for i in range(200)])
    prepared = ready(data, group="who")
    group = dict(zip(data["text"], data["who"], strict=True))
    seen = defaultdict(set)
    for text, split in where(prepared).items():
        seen[group[text]].add(split)
    assert all(len(splits) == 1 for splits in seen.values())
    assert all(count >= 20 for count in prepared.manifest.rows.values())


def test_near_duplicates_stay_together() -> None:
    data = rows(100)
    twins = [(text.upper() + "!", label) for text, label in data]
    place = where(ready([*data, *twins]))
    assert all(place[a] == place[b] for (a, _), (b, _) in zip(data, twins, strict=True))


def test_texts_with_one_word_more_stay_together() -> None:
    data = [(f"{sentence(i)} {sentence(i + 200)} {sentence(i + 400)}", f"c{i % 2}") for i in range(100)]
    place = where(ready([*data, *[(f"well {text}", label) for text, label in data]]))
    assert all(place[text] == place[f"well {text}"] for text, _ in data)


def test_other_numbers_make_another_text() -> None:
    data = [(f"please pay the invoice number {i} until monday", f"c{i % 2}") for i in range(60)]
    assert "near_duplicates" not in kinds(ready(data))


def test_given_splits_are_kept_and_what_lacks_is_cut_from_training() -> None:
    prepared = ready({"train": rows(100), "test": rows(30, start=500)})
    assert prepared.manifest.rows == {"train": 85, "validation": 15, "test": 30}
    assert "cut from the training rows" in prepared.manifest.split_reason
    full = ready({"train": rows(100), "val": rows(10, start=300), "test": rows(30, start=500)})
    assert full.manifest.rows == {"train": 100, "validation": 10, "test": 30}


def test_a_split_column_is_obeyed_and_its_odd_values_are_quarantined() -> None:
    names = ["train"] * 60 + ["dev"] * 20 + ["test"] * 19 + ["nonsense"]
    prepared = ready(columns(rows(100), part=names), split="part")
    assert prepared.manifest.rows == {"train": 60, "validation": 20, "test": 19}
    assert [row.reason for row in prepared.quarantine] == ["split 'nonsense' is none of train, validation, test"]


# leaks, duplicates, contradictions


def test_planted_leaks_are_taken_from_training() -> None:
    train, test = rows(60), rows(30, start=500)
    exact, near = test[3], (test[4][0].replace("a", "A") + " ?!", test[4][1])
    prepared = ready({"train": [*train, exact, near], "validation": rows(20, start=700), "test": test})
    assert prepared.manifest.rows == {"train": 60, "validation": 20, "test": 30}
    assert [row.row["text"] for row in prepared.quarantine] == [exact[0], near[0]]
    assert "leak" in kinds(prepared)
    kept = ready({"train": [*train, exact], "validation": rows(20, start=700), "test": test}, leaks="keep")
    assert kept.manifest.rows["train"] == 61
    assert "leak" in kinds(kept)
    with pytest.raises(DataError, match=r"data\.leaks is 'fail'"):
        ready({"train": [*train, exact], "validation": rows(20, start=700), "test": test}, leaks="fail")


def test_a_group_in_two_given_splits_is_a_leak_when_it_is_named() -> None:
    data = columns(rows(90), patient=[f"p{i % 45}" for i in range(90)], split=["train"] * 60 + ["test"] * 30)
    assert ready(data, group="patient").manifest.rows["test"] == 30
    assert "group_shared" in {row.kind for row in ready(data, group="patient").manifest.findings}
    assert ready(data).manifest.quarantined == 0
    assert ready(data, group="patient").manifest.quarantined == 30


def test_exact_duplicates_are_left_out_and_contradictions_told() -> None:
    data = rows(40)
    prepared = ready([*data, data[0], (data[1][0], "c0")])
    assert [row.origin for row in prepared.quarantine] == ["row 41"]
    assert {"duplicates", "contradictory"} <= kinds(prepared)
    assert len({split for item, split in where(prepared).items() if item == data[1][0]}) == 1


# columns and task


@pytest.mark.parametrize(
    ("values", "task", "labels"),
    [
        (["yes", "no"], "classification", ("no", "yes")),
        ([0, 1, 2], "classification", ("0", "1", "2")),
        ([1.0, 2.0], "classification", ("1", "2")),
        (["1.0", "2.0", "10.0"], "classification", ("1", "2", "10")),
        ([True, False], "classification", ("False", "True")),
        ([["a"], ["a", "b"], []], "multilabel", ("a", "b")),
        (["a|b", "a", "b|c", "c"], "multilabel", ("a", "b", "c")),
        (["home, garden", "toys, games"], "classification", ("home, garden", "toys, games")),
        ([0.5, 1.25, 3.75], "regression", ()),
        (list(range(7, 150)), "regression", ()),
        (["0.1", "0.25", "7"], "regression", ()),
    ],
)
def test_the_task_is_recognised(values: list[Any], task: str, labels: tuple[str, ...]) -> None:
    data = {"text": [sentence(i) for i in range(150)], "label": [values[i % len(values)] for i in range(150)]}
    manifest = ready(data).manifest
    assert (manifest.task, manifest.labels) == (task, labels)
    assert manifest.task_reason


def test_columns_of_0_and_1_are_labels() -> None:
    data = {"comment": [sentence(i) for i in range(60)]}
    data |= {"toxic": [i % 2 for i in range(60)], "rude": [int(i % 3 == 0) for i in range(60)]}  # type: ignore[dict-item]
    prepared = ready(data)
    assert (prepared.manifest.task, prepared.manifest.labels) == ("multilabel", ("rude", "toxic"))
    targets = dict(zip(prepared.splits["train"].inputs, prepared.splits["train"].targets, strict=True))
    assert all(
        targets[text] == (("rude",) if i % 3 == 0 else ()) for i in range(0, 60, 2) if (text := sentence(i)) in targets
    )


def test_every_role_has_a_reason() -> None:
    data = columns(rows(40), id=[str(i) for i in range(40)], patient=[i // 4 for i in range(40)])
    roles = {column.name: (column.role, column.reason) for column in ready(data).manifest.columns}
    assert {name: role for name, (role, _) in roles.items()} == {
        "text": "text",
        "label": "target",
        "id": "other",
        "patient": "group",
    }
    assert all(reason for _, reason in roles.values())


def test_pairs_are_recognised() -> None:
    data = {"premise": [sentence(i) for i in range(40)], "hypothesis": [sentence(i + 99) for i in range(40)]}
    prepared = ready(data | {"label": [i % 2 for i in range(40)]})
    pairs = set(zip(data["premise"], data["hypothesis"], strict=True))
    assert set(where(prepared)) == pairs
    assert len(inputs_of([{"premise": "a", "hypothesis": "b"}], prepared.manifest, DataRecipe())) == 1


def test_a_text_column_of_numbers_works_when_named() -> None:
    data = {"number": [i * 7919 for i in range(40)], "label": [f"c{i % 2}" for i in range(40)]}
    assert ready(data, text="number").splits["train"].inputs[0].isdigit()
    with pytest.raises(DataError, match="No column with texts"):
        ready(data)


def test_named_columns_must_exist_and_be_one_thing() -> None:
    with pytest.raises(DataError, match="Did you mean 'label'"):
        ready(columns(rows(20)), target="lable")
    with pytest.raises(DataError, match="both as text and as target"):
        ready(columns(rows(20)), text="label", target="label")


# cleaning


def test_missing_values_follow_the_policy() -> None:
    data = [*rows(40), ("", "c0"), (None, "c1"), ("a text", None), ("another text", "NaN"), ("  ", "c0")]
    assert len(ready(data).quarantine) == 5
    kept = ready(data, missing="impute", duplicates="keep")
    assert [row.reason for row in kept.quarantine] == ["missing target"] * 2
    assert "" in where(kept)
    with pytest.raises(DataError, match=r"5 rows .* data.missing is 'fail': row 41"):
        ready(data, missing="fail")


def test_labels_that_differ_by_case_or_spaces_are_merged() -> None:
    data = [(text, ("Spam", "spam ", "ham", "Spam")[i % 4]) for i, (text, _) in enumerate(rows(80))]
    prepared = ready(data)
    assert prepared.manifest.labels == ("Spam", "ham")
    assert "label_variants" in kinds(prepared)
    assert ready(data, label_variants="keep").manifest.labels == ("Spam", "ham", "spam ")
    with pytest.raises(DataError, match="'Spam' / 'spam '"):
        ready(data, label_variants="fail")


def test_rare_classes_follow_the_policy() -> None:
    data = [*rows(60), (sentence(800), "once"), (sentence(801), "twice"), (sentence(802), "twice")]
    prepared = ready(data)
    assert prepared.manifest.labels == ("c0", "c1")
    assert len(prepared.quarantine) == 3
    assert "once" in ready(data, rare="keep").manifest.labels
    with pytest.raises(DataError, match=r"data\.rare is 'fail'"):
        ready(data, rare="fail")


def test_labels_that_only_the_test_has_are_left_out() -> None:
    prepared = ready(
        {"train": rows(60), "test": [*rows(20, start=500), *[(sentence(700 + i), "new") for i in range(4)]]}
    )
    assert prepared.manifest.labels == ("c0", "c1")
    assert {row.reason for row in prepared.quarantine} == {"label 'new' does not occur in training"}


def test_targets_that_are_no_numbers_are_left_out_of_regression() -> None:
    data = {"text": [sentence(i) for i in range(40)], "y": [*(i / 7 for i in range(38)), "many", float("inf")]}
    prepared = ready(data, task="regression")
    assert [row.origin for row in prepared.quarantine] == ["row 39", "row 40"]


def test_max_rows_draws_every_class() -> None:
    prepared = ready([*rows(400, 4), *[(sentence(900 + i), "small") for i in range(40)]], max_rows=110)
    assert sum(prepared.manifest.rows.values()) == 110
    assert sum(prepared.manifest.counts[split]["small"] for split in SPLITS) == 10


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([(sentence(i), "same") for i in range(30)], "only one class"),
        ([(sentence(i), f"c{i}") for i in range(30)], "has fewer than 3 rows .* identifier or free text"),
        ({"text": [sentence(i) for i in range(9)], "y": [0.5] * 9}, "fewer than two distinct values"),
        ({"text": [sentence(i) for i in range(2)], "y": [0.5, 0.7]}, "Too few rows"),
        ([(sentence(i), None) for i in range(9)], "empty in every row"),
        ({"test": rows(20)}, "no training row"),
        ([], "has no rows"),
        ([1, 2, 3], "No column to predict"),
        ([("a",)], "pairs or of dicts"),
        (7, "of no known kind"),
        (None, "No data"),
        ({"text": ["a"], "label": ["b", "c"]}, "equal lengths"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(objects: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ready(objects)


def test_shares_must_leave_training_rows() -> None:
    with pytest.raises(DataError, match="leave rows for training"):
        ready(rows(40), validation_share=0.5, test_share=0.5)


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'regression'"):
        ready(rows(40), task="regresion")


# other sources of rows


def test_frames_and_datasets_are_read() -> None:
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns(rows(60)))
    whole = datasets.Dataset.from_dict(columns(rows(60)))
    assert where(ready(frame)) == where(ready(whole)) == where(ready(rows(60)))
    parts = datasets.DatasetDict({"train": whole, "test": datasets.Dataset.from_dict(columns(rows(20, start=500)))})
    assert ready(parts).manifest.rows["test"] == 20


def test_further_sources_are_validation_and_test(tmp_path: Path) -> None:
    for name, data in (("a", rows(60)), ("b", rows(20, start=300)), ("c", rows(30, start=500))):
        lines = [json.dumps({"text": text, "label": label}) for text, label in data]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    recipe = DataRecipe(path="a.jsonl", validation="b.jsonl", test="c.jsonl")
    assert prepare(recipe, task=None, seed=0).manifest.rows == {"train": 60, "validation": 20, "test": 30}


# what a run folder keeps, and new data


def test_new_labels_are_read_in_the_spelling_of_the_manifest() -> None:
    manifest = ready([(text, f"{1 + i % 3}.0") for i, (text, _) in enumerate(rows(60))]).manifest
    examples, left_out = labelled(
        [("a", 1), ("b", 2.0), ("c", "3"), ("d", "four"), ("e", None)], manifest, DataRecipe()
    )
    assert list(examples.targets) == ["1", "2", "3"]
    assert [row.origin for row in left_out] == ["row 4", "row 5"]


def test_new_label_sets_are_read_with_the_known_separator() -> None:
    data = [(text, ("a|b", "a", "b|c", "c")[i % 4]) for i, (text, _) in enumerate(rows(80))]
    examples, _ = labelled([("x", "a|c")], ready(data).manifest, DataRecipe())
    assert list(examples.targets) == [("a", "c")]


def test_new_texts_are_read_from_lines_and_tables(tmp_path: Path) -> None:
    manifest = ready({"sms": [sentence(i) for i in range(40)], "label": [i % 2 for i in range(40)]}).manifest
    (tmp_path / "new.txt").write_text("one line\n\nanother line\n")
    assert inputs_of("new.txt", manifest, DataRecipe()).inputs == ["one line", "another line"]
    (tmp_path / "new.csv").write_text("id,sms\n1,some words here\n")
    assert inputs_of("new.csv", manifest, DataRecipe()).inputs == ["some words here"]
    (tmp_path / "bad.csv").write_text("id,name,other\n1,2,3\n")
    with pytest.raises(DataError, match="no column 'sms'"):
        inputs_of("bad.csv", manifest, DataRecipe())


def test_manifest_and_quarantine_survive_the_file(tmp_path: Path) -> None:
    prepared = ready([*rows(40), ("", "c0")])
    write_manifest(tmp_path / "manifest.json", prepared.manifest)
    assert read_manifest(tmp_path / "manifest.json") == prepared.manifest
    odd = Quarantined("here", "why", {"bytes": b"\xff", "nan": float("nan"), "broken": "\udc80", "more": {1}})
    write_quarantine(tmp_path / "quarantine.jsonl", [*prepared.quarantine, odd])
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert lines[0] == {"origin": "row 41", "reason": "missing text", "row": {"text": "", "label": "c0"}}
    assert lines[1]["row"] == {"bytes": "<1 bytes>", "nan": None, "broken": "?", "more": [1]}


def test_long_texts_are_counted() -> None:
    found = longer_than_model(Examples(["a", "b", "c"], ["", "", ""], ["row 1", "row 2", "row 3"]), [5, 300, 128], 128)
    assert (found.kind, found.count, found.severity) == ("long_text", 1, "warning")
    assert found.examples == ("row 2: 300 tokens",)


# what holds for all data

texts = st.one_of(
    st.integers(0, 40).map(sentence), st.integers(0, 40).map(lambda i: sentence(i).upper() + "."), st.just("")
)
labels = st.sampled_from(["a", "b", "A ", "b", "a", None, "c"])
many = st.lists(st.tuples(texts, labels, st.sampled_from("uvwxyz"), st.sampled_from(SPLITS)), min_size=10, max_size=80)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=many, seed=st.integers(0, 3), groups=st.booleans(), splits=st.booleans())
def test_nothing_is_lost_and_nothing_leaks(data: list[Any], seed: int, groups: bool, splits: bool) -> None:
    objects = {"text": [row[0] for row in data], "label": [row[1] for row in data]}
    if groups:
        objects["who"] = [row[2] for row in data]
    if splits:
        objects["split"] = [row[3] for row in data]
    options = {"group": "who"} if groups else {}
    try:
        prepared = ready(objects, seed=seed, **options)
    except DataError:
        return
    kept = [origin for part in prepared.splits.values() for origin in part.origin]
    assert sorted([*kept, *(row.origin for row in prepared.quarantine)]) == sorted(
        f"row {i + 1}" for i in range(len(data))
    )
    homes: dict[object, set[str]] = defaultdict(set)
    for split, part in prepared.splits.items():
        for item, origin in zip(part.inputs, part.origin, strict=True):
            assert isinstance(item, str)
            homes[item.lower().strip(".")].add(split)
            if groups:
                homes["group", objects["who"][int(origin.split()[1]) - 1]].add(split)
    assert all(len(splits) == 1 for splits in homes.values())
    again = ready(objects, seed=seed, **options)
    assert again.manifest.fingerprint == prepared.manifest.fingerprint
    assert all(prepared.manifest.rows[split] for split in SPLITS)


@pytest.mark.real
def test_real_sets(real_data: Path) -> None:
    folder = real_data / "data" if (real_data / "data").is_dir() else real_data

    def read(name: str) -> Prepared:
        return prepare(DataRecipe(path=str(folder / name)), task=None, seed=0)

    waste = read("trashnet")
    assert sorted(row.origin for row in waste.quarantine) == ["train/glass/glass176.jpg", "train/glass/glass389.jpg"]
    emotions = read("goemotions")
    assert (emotions.manifest.task, len(emotions.manifest.labels)) == ("multilabel", 28)
    assert "no_header" in kinds(emotions)
    assert len(read("banking77").manifest.labels) == 77
    assert read("eurosat_rgb").manifest.rows == {"train": 3000, "validation": 500, "test": 1000}
    assert read("chest_xray_pneumonia").manifest.quarantined == 0
