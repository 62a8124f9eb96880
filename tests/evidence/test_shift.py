"""The evidence of shift: planted drops are told with honest intervals, and what time does not allow is said."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from hypothesis import given
from hypothesis import strategies as st
from small import fit_images, fit_text, sentences, table, write_table

from unfreeze.data.corruptions import corruptions_of
from unfreeze.data.corruptions._corruption import draw_for
from unfreeze.evidence import _reading, _suite, shift
from unfreeze.evidence._context import Context
from unfreeze.evidence._paired import paired
from unfreeze.evidence._reading import Corrupted, affordable, in_order, names_of, outputs_and_features
from unfreeze.evidence._suite import FEWEST_ROWS, MOST_ROWS, left_out, plan_suite
from unfreeze.evidence.shift import _drop, difference
from unfreeze.run import Run

NAMES = ("a", "b", "c", "d")


# ------------------------------------------------------------------------------------------- what time allows


def test_without_a_limit_everything_is_read() -> None:
    suite = plan_suite(math.inf, 3000, NAMES)
    assert (suite.rows, suite.severities, suite.names) == (MOST_ROWS, (1, 2, 3, 4, 5), NAMES)
    assert plan_suite(math.inf, 30, NAMES).rows == 30
    assert len(suite.cells) == 20
    assert suite.cells[: len(NAMES)] == [(name, 3) for name in NAMES]


@given(affordable=st.floats(0, 1e6), available=st.integers(0, 3000), count=st.integers(0, 14))
def test_a_suite_fits_into_its_time_and_more_time_makes_no_smaller_one(
    affordable: float, available: int, count: int
) -> None:
    names = [str(number) for number in range(count)]
    suite = plan_suite(affordable, available, names)
    assert suite.rows * len(suite.cells) <= affordable
    assert suite.rows <= min(available, MOST_ROWS)
    assert not suite.cells or suite.rows >= min(FEWEST_ROWS, available)
    assert suite.names == tuple(names[: len(suite.names)])
    larger = plan_suite(2 * affordable, available, names)
    assert len(larger.cells) >= len(suite.cells)


def test_what_is_left_out_is_said() -> None:
    whole = plan_suite(math.inf, 100, NAMES)
    assert left_out(whole, 100, NAMES, 20) == []
    some = plan_suite(250, 1000, NAMES)
    assert (some.rows, some.names, some.severities) == (100, ("a", "b"), (3,))
    said = left_out(some, 1000, NAMES, 1)
    assert said == [
        "900 rows of 1,000",
        "severities 1, 2, 4, 5",
        "c, d",
        "1 of 2 planned cells, since reading took longer",
    ]


def test_sets_are_called_as_briefly_as_they_can_be() -> None:
    assert names_of(["/data/a/test.csv", "/data/b/test.csv"]) == ["a/test.csv", "b/test.csv"]
    assert names_of(["/data/a/test.csv", "other.csv"]) == ["test.csv", "other.csv"]
    assert names_of(["x/test.csv", "x/test.csv"]) == ["test.csv", "test.csv"]


def test_the_order_of_rows_is_one_for_all_budgets() -> None:
    assert sorted(in_order(50, 3)) == list(range(50))
    assert in_order(50, 3) == in_order(50, 3) != in_order(50, 4)


# ------------------------------------------------------------------------------------------------ differences


def test_the_interval_of_a_difference_covers() -> None:
    """Of two independent shares, whose intervals are not symmetric."""
    draw = np.random.default_rng(0)

    def wilson(hits: int, rows: int) -> dict[str, float | None]:
        share, spread = hits / rows, 1.96**2 / rows
        middle, reach = share + spread / 2, (spread * (share * (1 - share) + spread / 4)) ** 0.5
        return {"value": share, "low": (middle - reach) / (1 + spread), "high": (middle + reach) / (1 + spread)}

    held = []
    for _ in range(2000):
        found = difference(wilson(draw.binomial(60, 0.7), 60), wilson(draw.binomial(150, 0.95), 150))
        held.append((found["low"] or 0) <= 0.7 - 0.95 <= (found["high"] or 0))
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_a_difference_without_intervals_has_none() -> None:
    bare = {"value": 0.5, "low": None, "high": None}
    assert difference(bare, {"value": 0.7, "low": 0.6, "high": 0.8}) == {
        "value": pytest.approx(-0.2),
        "low": None,
        "high": None,
    }
    assert difference({"value": None}, bare)["value"] is None


# ------------------------------------------------------------------------------------------------- real runs


def shifted(folder: Path) -> list[str]:
    """A set like the data, one whose labels are all wrong, one with labels that nobody knows, and one that is none."""
    table(folder / "near.csv", train=0, held_out=60, seed=9)
    wrong = folder / "wrong.csv"
    turned = {"bank": "film", "film": "weather", "weather": "bank"}
    write_table(wrong, [(text, turned[label], "test") for text, label in sentences(60, seed=8)])
    odd = folder / "odd.csv"
    rows = [(text, label, "test") for text, label in sentences(30, seed=7)]
    write_table(odd, [*rows[:20], *((text, "sports", "test") for text, _, _ in rows[20:])])
    (folder / "none.csv").write_text("nothing,here\n1,2\n")
    return [str(folder / name) for name in ("near.csv", "wrong.csv", "odd.csv", "none.csv")]


@pytest.fixture(scope="module")
def texts(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Context]:
    folder = tmp_path_factory.mktemp("shift")
    data = table(folder / "table.csv", train=90, held_out=60)
    options = {"method": "full", "epochs": 8, "lr": 1e-2, "shift": shifted(folder), **ASKED}
    with only("calibration", "out-of-distribution", "shift") as contexts:
        run = fit_text(home, folder / "run", data=data, bootstrap=200, **options)
    return run, contexts[0]


def test_further_sets_are_scored_as_evaluate_scores_them(texts: tuple[Run, Context]) -> None:
    run, _ = texts
    for item in run.evidence["shift"]["sets"][:3]:
        expected = run.evaluate(item["source"], precision="float32")
        assert item["rows"] == expected["rows"]
        for name, figure in expected["metrics"].items():
            assert item["metrics"][name]["value"] == pytest.approx(figure["value"], abs=1e-5)
        within = run.result["test"]["accuracy"]["value"]
        assert item["difference"]["accuracy"]["value"] == pytest.approx(item["metrics"]["accuracy"]["value"] - within)


def test_a_planted_drop_is_told(texts: tuple[Run, Context]) -> None:
    run, _ = texts
    near, wrong, *_ = run.evidence["shift"]["sets"]
    right = run.result["test"]["accuracy"]["value"]
    assert right > 0.6, "the model has learned something to lose"
    assert near["difference"]["accuracy"]["low"] < 0 < near["difference"]["accuracy"]["high"]
    assert wrong["difference"]["accuracy"]["high"] < 0
    assert wrong["drop"]["value"] == pytest.approx(-wrong["difference"]["accuracy"]["value"])
    assert wrong["drop"]["low"] <= wrong["drop"]["value"] <= wrong["drop"]["high"]
    said = run.evidence["shift"]["findings"]
    assert any("wrong.csv" in finding["text"] for finding in said)
    assert not any("near.csv" in finding["text"] for finding in said)
    assert wrong["calibration"]["before"]["value"] > near["calibration"]["before"]["value"]
    assert near["distance"]["auroc"]["value"] == pytest.approx(0.5, abs=0.2)


def test_labels_that_the_model_does_not_know_are_told(texts: tuple[Run, Context]) -> None:
    run, _ = texts
    odd, none = run.evidence["shift"]["sets"][2:]
    assert (odd["rows"], odd["of"]) == (20, 20)
    assert odd["left_out"] == [{"reason": "the model has no label 'sports'.", "rows": 10}]
    assert "column" in none["problem"]


def test_the_suite_is_that_of_corrupted_texts(texts: tuple[Run, Context]) -> None:
    run, context = texts
    suite = run.evidence["shift"]["suite"]
    known = corruptions_of("text")
    assert (suite["rows"], suite["of"], suite["left_out"]) == (60, 60, [])
    assert {(cell["corruption"], cell["severity"]) for cell in suite["cells"]} == {
        (name, severity) for name in known for severity in range(1, 6)
    }
    order = in_order(60, context.recipe.seed)
    reader = Corrupted(
        context.pretrained.preprocess, context.feeds["test"], order, ["missing-words"] * 60, 4, context.recipe.seed
    )
    fourth = context.feeds["test"].examples.inputs[order[3]]
    changed = known["missing-words"].apply(fourth, 4, draw_for(context.recipe.seed, "missing-words", order[3]))
    encoded = reader.encode(reader.places[3])["input_ids"]
    assert torch.equal(encoded, context.pretrained.preprocess.encode(changed)["input_ids"])
    outputs, _ = outputs_and_features(context, reader.places, reader.model(context.pretrained))
    right = (outputs.argmax(dim=1) == context.targets("test")[order]).double().mean()
    cell = next(c for c in suite["cells"] if (c["corruption"], c["severity"]) == ("missing-words", 4))
    assert cell["value"] == pytest.approx(float(right))
    # A model of small letters reads capitals as it reads them: the same outputs, whatever was changed.
    capitals = [cell for cell in suite["cells"] if cell["corruption"] == "case"]
    assert next(cell for cell in capitals if cell["severity"] == 5)["changed"] == 1
    assert {cell["value"] for cell in capitals} == {suite["clean"]["value"]}
    unharmed = next(c for c in suite["corruptions"] if c["name"] == "case")["difference"]
    assert unharmed["value"] == 0
    assert unharmed["high"] == -unharmed["low"] == pytest.approx(1.96**2 / (60 + 1.96**2), rel=1e-3), "of 60 rows"
    for cell in suite["cells"]:
        assert cell["low"] < cell["high"], "60 rows that are all alike are no certainty"
        assert cell["low"] <= cell["value"] <= cell["high"]
    lost = next(c for c in suite["corruptions"] if c["name"] == "missing-letters")
    assert lost["difference"]["value"] < 0, "the words by which labels are told are no longer whole"
    values = [cell["value"] for cell in suite["cells"]]
    assert suite["mean"]["value"] == pytest.approx(np.mean(values))
    assert suite["difference"]["value"] == pytest.approx(np.mean(values) - suite["clean"]["value"])
    assert [item["severity"] for item in suite["distance"]] == [1, 2, 3, 4, 5]
    assert all(item["low"] < item["auroc"] < item["high"] for item in suite["distance"])


def test_a_short_time_is_kept_and_told(texts: tuple[Run, Context], monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is what it is said to be here: a row takes a thousandth of what is left at first."""
    _, context = texts
    monkeypatch.setattr(_suite, "affordable", lambda *_: 350.0)
    monkeypatch.setattr(shift, "affordable", lambda *_: 12.0)
    monkeypatch.setattr(shift, "FEWEST", 15)
    found = shift.collect(context)
    assert found is not None
    assert [item["rows"] for item in found["sets"][:3]] == [15, 15, 15]
    suite = found["suite"]
    assert (suite["rows"], suite["severities"], len(suite["cells"])) == (60, [3], 5)
    assert suite["left_out"][0] == "severities 1, 2, 4, 5"
    left = iter([100.0, *[100.0] * 3, *[10.0] * 50])
    monkeypatch.setattr(type(context), "time_left", lambda _: next(left))
    cut = _suite.corrupted_suite(context, None)
    assert 0 < len(cut["cells"]) < 5
    assert any("planned cells" in said for said in cut["left_out"])
    monkeypatch.setattr(_suite, "affordable", lambda *_: 3.0)
    assert _suite.corrupted_suite(context, None)["cells"] == []


def test_the_time_of_a_row_is_measured_only_where_it_matters(
    texts: tuple[Run, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, context = texts
    inputs = context.feeds["test"].examples.inputs
    read: list[int] = []
    whole = outputs_and_features

    def counted(context: Context, inputs: Any, *more: Any) -> Any:
        read.append(len(inputs))
        return whole(context, inputs, *more)

    monkeypatch.setattr(_reading, "outputs_and_features", counted)
    assert math.isinf(affordable(_with(context, math.inf, monkeypatch), inputs, 0.5))
    assert read == []
    assert affordable(_with(context, 0.0, monkeypatch), inputs, 0.5) == 0
    assert read == []
    ticks = iter([0.0, 2.0])
    monkeypatch.setattr(_reading.time, "monotonic", lambda: next(ticks))
    rows = affordable(_with(context, 100.0, monkeypatch), inputs, 0.5)
    assert read == [_reading.TRIED]
    assert rows == pytest.approx((50 - 2) / (2 / _reading.TRIED))


def _with(context: Context, seconds: float, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr(type(context), "time_left", lambda _: seconds)
    return context


def test_sets_that_were_asked_for_are_read_without_any_time(
    texts: tuple[Run, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, context = texts
    monkeypatch.setattr(shift, "FEWEST", 10)
    found = shift.collect(_with(context, -1.0, monkeypatch))
    assert found is not None
    assert [item["rows"] for item in found["sets"][:3]] == [10, 10, 10]
    assert found["suite"]["cells"] == []


def test_images_are_corrupted_as_the_model_sees_them(home: Path, tmp_path: Path) -> None:
    with only("shift") as contexts:
        run = fit_images(home, tmp_path / "run", method="head", epochs=1, **ASKED)
    suite = run.evidence["shift"]["suite"]
    assert {cell["corruption"] for cell in suite["cells"]} == set(corruptions_of("image"))
    assert all(cell["changed"] > 0.9 for cell in suite["cells"] if cell["severity"] == 5)
    feed, preprocess = contexts[0].feeds["test"], contexts[0].pretrained.preprocess
    reader = Corrupted(preprocess, feed, [1, 0], ["brightness", "jpeg"], 5, 0)
    samples = reader.encode_many(reader.places)  # type: ignore[arg-type]
    own = feed.sample(1)["pixel_values"]
    assert samples[0]["pixel_values"].shape == own.shape
    assert samples[0]["pixel_values"].dtype == torch.uint8
    assert samples[0]["pixel_values"].float().mean() > own.float().mean() + 50
    assert torch.equal(feed.sample(1)["pixel_values"], own), "the feed keeps its own"
    assert len(json.dumps(run.evidence["shift"])) < 60_000


def test_differences_of_the_same_rows_are_paired(texts: tuple[Run, Context]) -> None:
    """Two outputs that are both right on the same rows differ by nothing, however uncertain each is."""
    _, context = texts
    targets = torch.tensor([0, 1, 2] * 20)
    outputs = torch.nn.functional.one_hot(targets.roll(1).where(torch.arange(60) < 30, targets), 3).float()
    found = paired(context, [outputs, outputs * 2], targets)
    same, alone = found.mean([1], against=0), found.mean([0])
    assert same["value"] == 0
    assert 0 < same["high"] - same["low"] < 0.6 * (alone["high"] - alone["low"])
    assert alone["high"] - alone["low"] > 0.1
    # Rows that are all right, or just one, are no certainty.
    right = torch.nn.functional.one_hot(targets, 3).float()
    sure = paired(context, [right, right], targets)
    assert sure.mean([0])["low"] == pytest.approx(60 / (60 + 1.96**2), rel=1e-3)
    assert sure.mean([0, 1])["low"] < 1
    assert paired(context, [right[:1]], targets[:1]).mean([0]) == {"value": 1.0, "low": None, "high": None}


def test_of_an_error_more_is_a_drop() -> None:
    item = {
        "difference": {"mae": {"value": 0.5, "low": 0.2, "high": 0.8}, "r2": {"value": -0.3, "low": -0.4, "high": -0.2}}
    }
    assert _drop(item, "mae", False) == {"value": 0.5, "low": 0.2, "high": 0.8}
    assert _drop(item, "r2", True) == {"value": 0.3, "low": 0.2, "high": 0.4}
