"""What the sections on calibration, distance, other data and WiSE-FT say of planted evidence, all of it escaped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from unfreeze.report.sections import calibration, out_of_distribution, shift, wise_ft

EVIL = "<script>alert(1)</script>"


def figure(value: float, by: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - by, "high": value + by}


def shown(section: Any, name: str, found: dict[str, Any] | None, modality: str = "text") -> str:
    run = SimpleNamespace(
        evidence={} if found is None else {name: found},
        path=Path("runs/one"),
        manifest=SimpleNamespace(modality=modality),
    )
    html = section.SECTION.render(run)
    assert found is not None or html is None
    text = "" if html is None else str(html).replace("\xa0", " ")
    assert EVIL not in text
    assert "None" not in text
    assert "nan" not in text
    return text


@pytest.mark.parametrize(
    ("section", "name"),
    [(calibration, "calibration"), (out_of_distribution, "ood"), (shift, "shift"), (wise_ft, "wise-ft")],
)
def test_no_evidence_no_section(section: Any, name: str) -> None:
    assert shown(section, name, None) == ""


# ------------------------------------------------------------------------------------------------ calibration


def of_classes(**more: Any) -> dict[str, Any]:
    names = ("ece", "ece_equal_mass", "brier", "nll")
    bins = [{"from": 0.6, "to": 0.67, "entries": 40, "probability": 0.64, "observed": figure(0.5)}]
    return {
        "task": "classification",
        "judged": "test",
        "fitted_on": "validation",
        "rows": {"validation": 200, "test": 300},
        "temperature": {"value": 2.0},
        "splits": {
            "test": {
                "before": dict.fromkeys(names, figure(0.15)),
                "after": dict.fromkeys(names, figure(0.04)),
                "difference": dict.fromkeys(names, figure(-0.11)),
            }
        },
        "reliability": {"before": bins, "after": bins},
        "thinned": 0,
        "abstention": {
            "wrong": figure(0.2),
            "lowest_rate": 0.03,
            "area": figure(0.05),
            "curve": [{"coverage": 0.5, "error": 0.05}, {"coverage": 1.0, "error": 0.2}],
            "wished": [
                {"error_rate": 0.01, "threshold": None},
                {
                    "error_rate": 0.05,
                    "threshold": 0.8,
                    "expected": 0.049,
                    "validation": {"coverage": 0.6, "error": 0.04},
                    "test": {"coverage": figure(0.55), "error": figure(0.06)},
                },
            ],
        },
        **more,
    }


def test_overconfidence_is_said_in_words() -> None:
    text = shown(calibration, "calibration", of_classes())
    assert "overconfident" in text
    assert "temperature of 2.00" in text
    assert "0.150 (0.130 to 0.170)" in text
    assert "too few validation rows to show it" in text
    assert "55.0 % (53.0 to 57.0)" in text
    assert "unfreeze predict runs/one FILE --error-rate 0.02" in text
    assert "less sure than it could be" in shown(calibration, "calibration", of_classes(temperature={"value": 0.5}))
    assert "hardly any correction" in shown(calibration, "calibration", of_classes(temperature={"value": 1.01}))


def test_without_validation_there_is_only_what_the_model_says() -> None:
    found = of_classes(temperature=None, fitted_on="", abstention=None)
    found["splits"]["test"] = {"before": found["splits"]["test"]["before"]}
    found["reliability"] = {"before": found["reliability"]["before"]}
    text = shown(calibration, "calibration", found)
    assert "no validation rows to correct them by" in text
    assert "Abstaining" not in text


def test_figures_on_the_rows_that_were_fitted_to_are_said_to_flatter() -> None:
    found = of_classes(judged="validation")
    found["splits"]["validation"] = found["splits"].pop("test")
    del found["abstention"]["wished"][1]["test"]
    assert "flatter" in shown(calibration, "calibration", found)


def test_labels_with_temperatures_of_their_own_are_escaped() -> None:
    temperature = {"value": 1.2, "lowest": 0.5, "highest": 3.0, "labels": [{"label": EVIL, "value": 0.5}]}
    text = shown(calibration, "calibration", of_classes(task="multilabel", temperature=temperature))
    assert "&lt;script&gt;" in text
    assert "not all labels right" in text


def of_numbers(radius: float | None = 1.5) -> dict[str, Any]:
    return {
        "task": "regression",
        "judged": "test",
        "rows": {"validation": 50, "test": 90},
        "scale": {"before": 2.0, "after": 0.8},
        "nll": {"before": figure(1.9), "after": figure(1.2), "difference": figure(-0.7)},
        "coverage": [
            {
                "level": 0.9,
                "normal_before": figure(0.99, 0.01),
                "normal_after": figure(0.9),
                "conformal": None if radius is None else figure(0.91),
                "radius": radius,
            }
        ],
        "kept": {"radius": radius, "level": 0.9},
    }


def test_numbers_have_intervals() -> None:
    text = shown(calibration, "calibration", of_numbers())
    assert "±1.50" in text
    assert "91.0 % (89.0 to 93.0)" in text
    assert "too few validation rows for an interval" in shown(calibration, "calibration", of_numbers(None))
    assert "no validation rows" in shown(calibration, "calibration", {"task": "regression", "rows": {"test": 3}})


# ---------------------------------------------------------------------------------------------------- distance


def test_the_percentile_is_explained_and_the_furthest_rows_are_escaped() -> None:
    test = {
        "rows": 100,
        "beyond": [{"percentile": 95, "share": figure(0.06)}],
        "against_validation": figure(0.51),
        "furthest": [{"origin": EVIL, "text": EVIL, "percentile": 99.9}],
    }
    found = {"rows": 200, "classes": 3, "test": test}
    text = shown(out_of_distribution, "out-of-distribution", found)
    assert "99 % of the 200 validation rows" in text
    assert "6.0 % (4.0 to 8.0)" in text
    assert text.count("&lt;script&gt;") >= 2
    without = shown(out_of_distribution, "out-of-distribution", {"rows": 200, "classes": 1})
    assert "nearest class" not in without


# -------------------------------------------------------------------------------------------------- other data


def of_shift(metric: str = "accuracy", **more: Any) -> dict[str, Any]:
    higher = metric == "accuracy"
    cells = [
        {"corruption": "jpeg", "severity": severity, "changed": 1.0, "value": 0.8 - 0.1 * severity}
        for severity in (1, 3, 5)
    ]
    return {
        "metric": metric,
        "higher_is_better": higher,
        "judged": "test",
        "sets": [
            {
                "name": f"{EVIL}.csv",
                "source": f"/data/{EVIL}.csv",
                "split": "",
                "rows": 150,
                "of": 400,
                "left_out": [{"reason": f"the model has no label '{EVIL}'.", "rows": 7}],
                "metrics": {metric: figure(0.7)},
                "difference": {metric: figure(-0.15)},
                "calibration": {"before": figure(0.2), "after": figure(0.1)},
                "distance": {"auroc": figure(0.8), "beyond_95": figure(0.3)},
            },
            {"name": "none.csv", "source": "none.csv", "problem": f"no column {EVIL}"},
        ],
        "suite": {
            "rows": 120,
            "of": 300,
            "left_out": ["180 rows of 300", "severities 2, 4"],
            "severities": [1, 3, 5],
            "draws": 100,
            "clean": figure(0.85),
            "mean": figure(0.5),
            "difference": figure(-0.35),
            "corruptions": [{"name": "jpeg", "group": "digital", "value": figure(0.5), "difference": figure(-0.35)}],
            "cells": cells,
            "distance": [{"severity": 1, "auroc": 0.55}, {"severity": 5, "auroc": None}],
        },
        **more,
    }


def test_a_drop_is_told_in_points_beside_the_figure() -> None:
    text = shown(shift, "shift", of_shift(), "image")
    assert "70.0 % (68.0 to 72.0)" in text
    assert "−15.0 points (−17.0 to −13.0)" in text
    assert "150 of 400" in text
    assert "7 rows of “" in text
    assert "was not scored" in text
    assert "noise, blur" in text
    assert "Left out for time: 180 rows of 300; severities 2, 4." in text
    assert "−35.0 points (−37.0 to −33.0)" in text
    assert "0.55 at severity 1." in text


def test_figures_that_are_no_shares_stay_numbers() -> None:
    text = shown(shift, "shift", of_shift("rmse"))
    assert "points" not in text.replace("percentage points", "")
    assert "−0.150 (−0.170 to −0.130)" in text


def test_what_there_was_no_time_for_is_said() -> None:
    found = of_shift(sets=[], suite={"rows": 0, "of": 10, "left_out": [], "cells": []})
    assert "unfreeze report runs/one --again" in shown(shift, "shift", found)


# ----------------------------------------------------------------------------------------------------- wise-ft


def of_wise(**more: Any) -> dict[str, Any]:
    alphas = [0.0, 0.5, 1.0]
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "alpha": 0.5,
        "fixed": False,
        "validated": True,
        "curve": [{"alpha": alpha, "validation": 0.8} for alpha in alphas],
        "sets": [
            {
                "name": EVIL,
                "rows": 50,
                "of": 60,
                "curve": [{"alpha": alpha, "value": figure(0.7)} for alpha in alphas],
                "gain": figure(0.03),
            },
            {"name": "test", "rows": 0, "of": 60, "curve": []},
        ],
        **more,
    }


def test_the_choice_and_the_gain_are_told() -> None:
    text = shown(wise_ft, "wise-ft", of_wise())
    assert "0.5 of the fine-tuned weights" in text
    assert "+3.0 points (1.0 to 5.0)" in text
    assert "was given: 0.3" in shown(wise_ft, "wise-ft", of_wise(alpha=0.3, fixed=True))
    bare = of_wise(validated=False, curve=[{"alpha": 0.5, "validation": None}], sets=[])
    assert "Without validation rows" in shown(wise_ft, "wise-ft", bare)
