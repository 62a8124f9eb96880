"""What single sections say, of runs whose truth is known."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from made import classes, context, numbers, write_run
from page import Page

from unfreeze.recipe_io import with_values
from unfreeze.report.findings import findings
from unfreeze.report.html import element
from unfreeze.report.sections import classes as classes_section
from unfreeze.report.sections import comparison, curves, layers, provenance, summary, sweep
from unfreeze.run import Run, open_run


def read(markup: object) -> Page:
    return Page(f"<!DOCTYPE html>\n<html>{element('body', markup)}</html>")


def kinds(run: Run) -> list[tuple[str, str]]:
    return [(said.kind, str(said.text)) for said in findings(run)]


def changed(run: Run, **values: object) -> Run:
    """The same run with other figures in its result."""
    path = run.path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return open_run(run.path)


# ----------------------------------------------------------------------------------------------- summary


def test_sentence_of_labels(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(200))
    figure = run.result["test"]["accuracy"]
    said = read(summary.render(run)).all("p")[0].text.replace("\u00a0", " ")
    assert said.startswith(
        f"This model gives texts one of 3 labels, and is right for {100 * figure['value']:.1f} % of 200 test rows "
        f"(95 % interval {100 * figure['low']:.1f} % to {100 * figure['high']:.1f} %). Always answering"
    )


def test_ten_of_ten_right_is_no_certainty_in_the_sentence(tmp_path: Path) -> None:
    targets = torch.arange(10) % 2
    made = context("classification", ["a", "b"], 9.0 * torch.eye(2)[targets], targets)
    said = read(summary.render(write_run(tmp_path / "run", made))).all("p")[0].text.replace("\u00a0", " ")
    assert "is right for 100.0 % of 10 test rows (95 % interval 72.2 % to 100.0 %)" in said


def test_sentence_of_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", numbers())
    said = read(summary.render(run)).all("p")[0].text
    assert "it is off by" in said
    assert "95 % interval" in said


def test_no_better_than_without_input_is_a_problem(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes())
    high = {"accuracy": {"value": 0.99, "low": 0.98, "high": 1.0}}
    run = changed(run, baseline={"name": "majority class", "test": high})
    assert kinds(run)[0][0] == "bad"
    assert "no better than an answer that ignores the input" in kinds(run)[0][1]


def test_overlap_with_the_baseline_is_not_called_better(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(40))
    value = run.result["test"]["accuracy"]["value"] - 0.01
    overlapping = {"accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1}}
    found = kinds(changed(run, baseline={"name": "majority class", "test": overlapping}))
    assert any(kind == "warning" and "intervals overlap" in text for kind, text in found)
    assert not any("is clearly better" in text for _, text in found)


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", numbers())
    worse = {"mae": {"value": 50.0, "low": 45.0, "high": 55.0}}
    found = kinds(changed(run, baseline={"name": "mean", "test": worse}))
    assert any(kind == "good" and "clearly better" in text for kind, text in found)


def test_few_rows_are_said(tmp_path: Path) -> None:
    found = kinds(write_run(tmp_path / "few", classes(20)))
    assert any("only 20 rows" in text for _, text in found)
    assert not any("only" in text for _, text in kinds(write_run(tmp_path / "many", classes(400))))


def test_label_that_fails_is_named(tmp_path: Path) -> None:
    targets = torch.arange(300) % 3
    outputs = torch.nn.functional.one_hot(targets, 3).float()
    outputs[targets == 2] = torch.tensor([1.0, 0.0, 0.0])  # "c" is never found
    run = write_run(tmp_path / "run", context("classification", ["a", "b", "c <x>"], outputs, targets))
    found = kinds(run)
    assert any("fares worst: F1 0 (0.000 to" in text or "fares worst: F1 0" in text for _, text in found)
    assert any("never given: <bdi>c &lt;x&gt;</bdi>" in text for _, text in found)


def test_evidence_may_add_notes(tmp_path: Path) -> None:
    more = {"other": {"findings": [{"text": "look <here>", "kind": "bad"}, {"text": "fine", "kind": "strange"}]}}
    found = findings(write_run(tmp_path / "run", classes(400), more))
    assert (found[0].kind, found[0].text) == ("bad", "look <here>")
    assert ("info", "fine") in [(said.kind, said.text) for said in found]


# -------------------------------------------------------------------------------------------- comparison


def probed(difference: dict[str, float]) -> dict[str, object]:
    figures = {"accuracy": {"value": 0.6, "low": 0.5, "high": 0.7}}
    counts = {"train": 50, "test": 200}
    return {
        "probe": {
            "split": "test",
            "rows": counts,
            "of": {"train": 100, "test": 200},
            "figures": figures,
            "difference": {"unit": "accuracy", **difference},
            "curve": [{"rows": 25, "score": 0.5}, {"rows": 50, "score": 0.6}],
            "gain": {"unit": "accuracy", "value": 0.1, "low": 0.05, "high": 0.15, "p": 0.01},
        }
    }


@pytest.mark.parametrize(
    ("low", "high", "kind", "words"),
    [
        (0.02, 0.2, "good", "more than chance explains"),
        (-0.05, 0.2, "warning", "holds zero"),
        (-0.05, 0.2, "warning", "A true gain of 18 percentage points would be found"),
        (-0.3, -0.1, "bad", "behind"),
    ],
)
def test_gain_over_the_probe(low: float, high: float, kind: str, words: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(), probed({"value": (low + high) / 2, "low": low, "high": high}))
    page = read(comparison.render(run))
    (note,) = [each for each in page.all("p") if "note" in each.attributes.get("class", "")]
    assert kind in note.attributes["class"].split()
    assert words in note.text
    assert "percentage points in accuracy" in note.text
    assert "50 of 100 train rows" in page.text
    bars = [each.text for each in page.all("text")]
    assert {"this model", "linear probe", "majority class"} <= set(bars)


def test_a_gain_that_the_exact_test_leaves_to_chance_is_no_gain(tmp_path: Path) -> None:
    more = probed({"value": 0.04, "low": 0.01, "high": 0.08, "p": 0.125, "detectable": 0.06})
    run = write_run(tmp_path / "run", classes(), more)
    page = read(comparison.render(run))
    assert "fine-tuning has gained" not in page.text
    assert "chance explains so few differing rows" in page.text
    assert "A true gain of 6.0 percentage points" in page.text
    assert any(kind == "warning" and "as well, as far as these rows tell" in text for kind, text in kinds(run))


def test_scratch_is_shown_where_it_was_measured(tmp_path: Path) -> None:
    scratch = {"scratch": {"figures": {"accuracy": {"value": 0.4, "low": 0.3, "high": 0.5}}}}
    assert "from scratch" in read(comparison.render(write_run(tmp_path / "run", classes(), scratch))).text


# ------------------------------------------------------------------------------------------------ curves


def test_phases_and_the_best_epoch_are_marked(tmp_path: Path) -> None:
    page = read(curves.render(write_run(tmp_path / "run", classes())))
    words = [each.text for each in page.all("text")]
    assert words.count("probe") == 2
    assert words.count("all") == 2
    assert words.count("best, kept") == 1
    assert [mark.x for mark in curves.phase_marks(write_run(tmp_path / "again", classes()).result["history"])] == [
        0,
        10,
    ]


def test_losses_are_drawn_together_only_where_they_are_the_same_quantity(tmp_path: Path) -> None:
    made = classes()
    assert "validation, after the epoch" in read(curves.render(write_run(tmp_path / "a", made))).text
    recipe = made.recipe
    made.recipe = type(recipe)(evaluation=recipe.evaluation, training=type(recipe.training)(label_smoothing=0.1))
    assert "validation, after the epoch" not in read(curves.render(write_run(tmp_path / "b", made))).text


# ------------------------------------------------------------------------------------------------ layers


STACK = {
    "groups": [
        {"name": "stem", "parameters": 10, "rates": [None, 1e-5]},
        {"name": "block 0", "parameters": 20, "rates": [None, 1e-4]},
        {"name": "head", "parameters": 5, "rates": [1e-2, 1e-3]},
    ],
    "phases": [
        {"name": "probe", "epochs": 1, "until": "epochs"},
        {"name": "all", "epochs": 3, "until": "epochs"},
    ],
}
MOVED = {
    "groups": [
        {"name": "stem", "kind": "own", "relative_change": 0.0, "cka": 1.0, "cka_low": 0.9, "cka_high": 1.0},
        {"name": "block 0", "kind": "own", "relative_change": 0.25, "cka": None},
        {"name": "head", "kind": "head", "relative_change": 4.0, "cka": 0.5, "cka_low": 0.4, "cka_high": 0.6},
    ]
}


def test_stack_is_drawn_from_the_head_down(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(), {"layers": STACK, "movement": MOVED})
    page = read(layers.render(run))
    cells = [each.text for each in page.all("title")][1:]
    assert cells == [
        "head, probe: rate 0.01",
        "head, all: rate 0.001",
        "block 0, probe: frozen",
        "block 0, all: rate 0.0001",
        "stem, probe: frozen",
        "stem, all: rate 1e-05",
    ]
    frozen = [each for each in page.all("rect") if each.attributes["class"] == "frozen"]
    assert len(frozen) == 2
    widths = {each.attributes["width"] for each in page.all("rect") if each.attributes["class"] in ("cell", "frozen")}
    short, long = sorted(map(float, widths))
    assert long / short == pytest.approx(3, rel=0.05)
    shades = [float(each.attributes["fill-opacity"]) for each in page.all("rect") if each.attributes["class"] == "cell"]
    assert shades == sorted(shades, reverse=True)
    bars = [float(each.attributes["width"]) for each in page.all("rect") if "bar" in each.attributes["class"]]
    assert len(bars) == 2, "the head was new: how far it moved from random weights says nothing"
    assert bars[0] > 20 * bars[1]
    assert "new" in [each.text for each in page.all("text")]
    dots = [float(each.attributes["cx"]) for each in page.all("circle")]
    assert len(dots) == 2, "CKA is drawn where it was measured"
    assert dots[1] > dots[0], "the stem below is more alike than the head"
    told = [each.text for each in page.all("text")]
    assert {"alike (CKA)", "0.50", "1.00"} <= set(told)
    assert "25.0\u00a0%" in page.text
    assert "1.00 (0.90 to 1.00)" in page.text


def test_stack_without_evidence_is_made_from_the_result(tmp_path: Path) -> None:
    page = read(layers.render(write_run(tmp_path / "run", classes())))
    assert [each.text for each in page.all("title")][1:] == [
        "head, probe: learns",
        "head, all: learns",
        "block 0, probe: frozen",
        "block 0, all: learns",
    ]


@pytest.mark.parametrize("count", [1, 100])
def test_stacks_of_any_height(count: int, tmp_path: Path) -> None:
    groups = [{"name": f"block {place}", "parameters": 1, "rates": [None, 1e-4]} for place in range(count)]
    run = write_run(tmp_path / "run", classes(), {"layers": {**STACK, "groups": groups}})
    assert len(read(layers.render(run)).all("rect")) == 2 * count


# ----------------------------------------------------------------------------------------------- classes


def test_confusion_matrix_counts_rows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(300))
    page = read(classes_section.render(run))
    told = [each.text for each in page.all("title") if re.match("[abc], [abc]: ", each.text)]
    assert len(told) == 9
    counts = [int(text.rsplit(": ")[-1] or 0) for text in told]
    assert sum(counts) == 300
    assert (counts[0] + counts[4] + counts[8]) / 300 == pytest.approx(run.result["test"]["accuracy"]["value"])


def test_many_labels_show_the_worst_and_the_best(tmp_path: Path) -> None:
    labels = [f"l{place}" for place in range(60)]
    page = read(classes_section.render(write_run(tmp_path / "run", classes(3000, labels))))
    shown = [each.text for each in page.all("text") if each.text.startswith("l") and each.text[1:].isdigit()]
    found = {each["label"]: each["f1"]["value"] for each in json.loads(
        (tmp_path / "run" / "evidence" / "per-class.json").read_text())["classes"]}  # fmt: skip
    ranked = sorted(found, key=lambda label: found[label])
    assert sorted(found[label] for label in shown) == sorted(found[label] for label in [*ranked[:12], *ranked[-4:]])


# ------------------------------------------------------------------------------------------------- sweep


def test_sweep(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes())
    assert sweep.render(run) is None
    seeds = [{"seed": 0, "value": 0.8, "best_epoch": 2}, {"seed": 1, "value": 0.9, "best_epoch": 3}]
    table = [
        {"head_lr": 0.01, "weight_decay": 0.0, "mean": 0.85, "spread": 0.07, "seeds": seeds},
        {
            "head_lr": 1.0,
            "weight_decay": 0.0,
            "mean": None,
            "spread": None,
            "seeds": [{"seed": 0, "diverged_in_epoch": 1}],
        },
    ]
    best = {"head_lr": 0.01, "weight_decay": 0.0, "seed": 1, "epoch": 3, "value": 0.9}
    content = {"metric": "accuracy", "higher_is_better": True, "heads": 4, "best": best, "table": table}
    (run.path / "sweep.json").write_text(json.dumps(content))
    page = read(sweep.render(open_run(run.path)))
    assert "the best of 4 heads" in page.text
    assert "diverged" in page.text
    assert "0.850 (0.800 to 0.900)" in [each.text for each in page.all("text")]


# ----------------------------------------------------------------------------------------------- provenance


def again(run: Run) -> str:
    return read(provenance.render(run)).all("p")[-1].text


def test_the_command_that_makes_it_again_is_the_right_one(tmp_path: Path) -> None:
    made = classes()
    folder = tmp_path / "it's a run"
    run = write_run(folder, made)
    assert "unfreeze.fit(data, recipe=unfreeze.load_recipe(" in again(run), "its data have no path"
    made.recipe = with_values(made.recipe, {"data.path": "reviews.csv"})
    run = write_run(tmp_path / "another's run", made)
    command = shlex.split(again(run).partition(": ")[2])
    assert command == ["unfreeze", "fit", f"{run.path}/recipe.resolved.yaml", "--output", f"{run.path}-again"]
    soup = {"kind": "greedy", "runs": [{"run": "runs/a b"}, {"run": "runs/c"}]}
    (run.path / "soup.json").write_text(json.dumps(soup))
    command = shlex.split(again(open_run(run.path)).partition(": ")[2])
    assert command == ["unfreeze", "soup", "runs/a b", "runs/c", "--greedy", "--output", f"{run.path}-again"]


def test_a_merged_run_says_whose_figures_it_shows(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(), merged="/runs/the source")
    assert any("/runs/the source" in text and "folded into its base" in text for _, text in kinds(run))
    assert again(run).endswith("unfreeze merge '/runs/the source'")
    assert not any("folded" in text for _, text in kinds(write_run(tmp_path / "other", classes())))


@pytest.mark.parametrize(
    ("p", "last", "words"),
    [(0.001, 0.6, "more data may help"), (0.3, 0.6, "chance alone may explain"), (0.001, 0.5, "does not rise")],
)
def test_a_curve_rises_only_beyond_chance(p: float, last: float, words: str, tmp_path: Path) -> None:
    evidence = probed({"value": 0.1, "low": 0.05, "high": 0.2})
    evidence["probe"]["gain"]["p"] = p  # type: ignore[index]
    evidence["probe"]["curve"][-1]["score"] = last  # type: ignore[index]
    assert words in read(comparison.render(write_run(tmp_path / "run", classes(), evidence))).text


def test_updates_are_whole_numbers(tmp_path: Path) -> None:
    page = read(curves.render(write_run(tmp_path / "run", classes())))
    cells = [each.text for each in page.all("td")]
    assert "10" in cells
    assert "10.0" not in cells
