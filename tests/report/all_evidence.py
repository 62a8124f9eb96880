"""Every kind of evidence at its full size, written by hand: as long as each kind lets it be, with any text in it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unfreeze.evidence.per_class import confusion, counts_of_classes, curves, figures_of_classes

FIGURES = ("accuracy", "true_positive_rate", "false_positive_rate", "selection_rate", "ece", "overconfidence")
CALIBRATION = ("ece", "ece_equal_mass", "brier", "nll")


def figure(value: float = 0.5, by: float = 0.1) -> dict[str, float]:
    return {"value": value, "low": value - by, "high": value + by}


def everything(text: str, labels: list[str], pictures: bool = False) -> dict[str, Any]:
    """All evidence beside that of labels, mistakes and numbers; `text` stands wherever data or their names would.

    Parameters
    ----------
    pictures : bool
        Examples are pictures; else texts.
    """
    return {
        "attention": _attention(text, pictures),
        "calibration": _calibration(),
        "cost": _cost(text),
        "forgetting": _forgetting(text),
        "groups": _groups(text, labels),
        "labels": _labels(text, labels, pictures),
        "layers": _layers(text),
        "movement": _movement(text),
        "out-of-distribution": _distance(text),
        "probe": _probe(),
        "shift": _shift(text, pictures),
        "swaps": _swaps(text, labels),
        "wise-ft": _wise(text),
    }


def picture(side: int = 160, wide: int = 1) -> str:
    """Noise: of all pictures the largest file."""
    pixels = np.random.default_rng(0).integers(0, 255, (side, side * wide, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


def per_class(labels: list[str], rows: int) -> dict[str, Any]:
    """As it is collected of so many rows, about three of four right."""
    draw = np.random.default_rng(0)
    true = draw.integers(0, len(labels), rows)
    given = np.where(draw.random(rows) < 0.75, true, draw.integers(0, len(labels), rows))
    shown: NDArray[Any] = np.arange(12)
    return {
        "split": "test",
        "rows": rows,
        **confusion(true, given, labels),
        "classes": figures_of_classes(labels, *counts_of_classes(true, given, len(labels))),
        "curves": curves([labels[each] for each in shown], true[:, None] == shown, draw.random((rows, 12)), 2, 0),
    }


def mistakes(text: str, labels: list[str], rows: int, pictures: bool) -> dict[str, Any]:
    shown = {"image": picture()} if pictures else {"text": text}
    example = {"prediction": labels[0], "probability": 0.9, "probability_of_target": 0.1, "target": labels[1]}
    examples = [{**example, **shown, "origin": f"{text} {number}"} for number in range(24)]
    about = {"split": "test", "rows": rows, "wrong": 9, "sure": 0.9, "sure_and_wrong": 1, "sure_in_all": 5}
    return {**about, "examples": examples}


def _attention(text: str, pictures: bool) -> dict[str, Any]:
    about = {"origin": text, "target": text, "prediction": text, "mistake": True}
    word = text if len(text) < 100 else text[:10]
    pieces = [[f"{word} ", 1.0 - number / 32] for number in range(64)]
    shown = {"picture": picture(wide=2)} if pictures else {"texts": [pieces, pieces], "cut": True}
    return {
        "modality": "image" if pictures else "text",
        "split": "test",
        "layer": text,
        "grid": [7, 7],
        "randomised": [text, text],
        "check": {**figure(), "rows": 8},
        "examples": [{**about, **shown} for _ in range(12)],
    }


def _calibration() -> dict[str, Any]:
    bins = [
        {"from": at / 15, "to": (at + 1) / 15, "entries": 9, "probability": (at + 0.5) / 15, "observed": figure()}
        for at in range(15)
    ]
    share = {"coverage": figure(), "error": figure()}
    wished = [
        {"error_rate": rate, "threshold": 0.8, "validation": {"coverage": 0.6, "error": 0.04}, "test": share}
        for rate in (0.01, 0.02, 0.05, 0.1, 0.2)
    ]
    curve = [{"coverage": (at + 1) / 40, "error": 0.1, "low": 0.0, "high": 0.2} for at in range(40)]
    return {
        "task": "classification",
        "judged": "test",
        "fitted_on": "validation",
        "rows": {"validation": 200, "test": 300},
        "temperature": {"value": 2.0},
        "splits": {"test": {side: dict.fromkeys(CALIBRATION, figure()) for side in ("before", "after", "difference")}},
        "reliability": {"before": bins, "after": bins},
        "thinned": 0,
        "abstention": {"wrong": figure(), "lowest_rate": 0.03, "area": figure(), "curve": curve, "wished": wished},
    }


def _cost(text: str) -> dict[str, Any]:
    return {
        "seconds": 100.0,
        "processor_seconds": 90.0,
        "energy_wh": 1.5,
        "co2_g": 0.5,
        "grams_per_kwh": 475.0,
        "mix": text,
        "energy_read": False,
        "energy_source": f"estimated: {text}",
        "replay": {"flops_saved": 1e12, "flops_done": 1e12},
    }


def _forgetting(text: str) -> dict[str, Any]:
    drift = {"on": "source", "rows": 400, "k": 10, "chance": 0.025}
    told = {name: figure() for name in ("before", "after", "unfitted", "difference", "unfitted_difference")}
    retention = {"source": text, "labels": 5, "rows": 400, "metric": "accuracy", "chance": 0.2, **told}
    alike = {name: figure() for name in ("cka", "cosine", "neighbours")}
    return {"unchanged": False, "removable": False, "drift": {**drift, **alike}, "retention": retention}


def _groups(text: str, labels: list[str]) -> dict[str, Any]:
    names = [f"{text} {number}" for number in range(40)]
    told = {name: figure() for name in FIGURES}
    gap = {"highest": names[0], "lowest": names[1], "worst": names[1], "difference": figure(), "ratio": figure()}
    change = {"before": figure(), "after": figure(0.8), "change": figure(0.3), "p": 0.001, "p_adjusted": 0.01}
    column = {
        "groups": [{"name": name, "rows": 100, "small": False, "figures": told} for name in names],
        "gaps": {name: {**gap, "p": 0.001, "p_adjusted": 0.01} for name in FIGURES},
        "uneven": [
            {"label": label, "highest": {"group": text, "rate": 0.5}, "lowest": {"group": text, "rate": 0.1}}
            for label in labels[:5]
        ],
        "before": {"rows": 500, "gaps": {name: {**change, "verdict": "wider"} for name in FIGURES}, "groups": {}},
    }
    rates = {name: figure() for name in ("accuracy", "true_positive_rate", "selection_rate")}
    side = {"accuracy": figure(), "gaps": rates}
    threshold = {"thresholds": dict.fromkeys(names, 0.5), "with": side, "without": side}
    return {
        "split": "test",
        "rows": 500,
        "metric": "accuracy",
        "positive": labels[1],
        "overall": told,
        "tests": 18,
        "columns": [{"column": f"{text} {number}", **column} for number in range(3)],
        "before": "",
        "thresholds": [
            {"column": text, "criterion": criterion, **threshold}
            for criterion in ("equal-opportunity", "equal-selection")
        ],
    }


def _labels(text: str, labels: list[str], pictures: bool) -> dict[str, Any]:
    shown = {"image": picture()} if pictures else {"text": text, "pair": text}
    example = {"origin": text, "given": labels[0], "suggested": labels[1], "score": 0.1, **shown}

    def part(split: str) -> dict[str, Any]:
        return {
            "rows": {split: 500},
            "of": {split: 500},
            "suspects": 100,
            "share": 0.2,
            "estimated": figure(),
            "agreement": 0.6,
            "pairs": [{"given": labels[0], "suggested": labels[1], "rows": 9}] * 10,
            "examples": [{**example, "split": split}] * 24,
        }

    parts = {"held back": part("test"), "train": part("train")}
    return {"parts": parts, "left_out": {"more": text}, "suspects": 200, "judge": "cleanlab", "file": "labels.csv"}


def _names(text: str) -> list[str]:
    return [f"{text} {number}" for number in range(40)]


def _layers(text: str) -> dict[str, Any]:
    groups = [{"name": name, "parameters": 10**6, "rates": [None, 1e-4]} for name in _names(text)]
    return {"phases": [{"name": text, "epochs": 1.0}, {"name": text, "epochs": 2.0}], "groups": groups}


def _movement(text: str) -> dict[str, Any]:
    alike = {"cka": 0.9, "cka_low": 0.8, "cka_high": 1.0}
    return {"groups": [{"name": name, "kind": "own", "relative_change": 0.1, **alike} for name in _names(text)]}


def _distance(text: str) -> dict[str, Any]:
    beyond = [{"percentile": share, "share": figure()} for share in (90, 95, 99)]
    furthest = [{"origin": text, "text": text, "percentile": 99.0}] * 10
    test = {"rows": 500, "beyond": beyond, "against_validation": figure(), "furthest": furthest}
    return {"rows": 200, "classes": 3, "test": test}


def _probe() -> dict[str, Any]:
    return {
        "split": "test",
        "rows": {"train": 50, "test": 50},
        "of": {"train": 100, "test": 100},
        "figures": {"accuracy": figure()},
        "difference": {"unit": "accuracy", **figure(0.05)},
        "curve": [{"rows": 25, "score": 0.5}, {"rows": 50, "score": 0.6}],
        "gain": {"unit": "accuracy", "value": 0.1, "low": 0.05, "high": 0.15, "p": 0.01},
    }


def _shift(text: str, pictures: bool) -> dict[str, Any]:
    names = [f"corruption-{number}" for number in range(15 if pictures else 6)]
    told = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece"), figure())
    one = {
        "name": text,
        "source": text,
        "split": "",
        "rows": 150,
        "of": 400,
        "left_out": [{"reason": text, "rows": 7}] * 9,
        "metrics": told,
        "difference": told,
        "drop": figure(),
        "calibration": {"before": figure(), "after": figure()},
        "distance": {"auroc": figure(), "beyond_95": figure()},
    }
    cells = [
        {"corruption": name, "severity": severity, "changed": 1.0, **figure()}
        for name in names
        for severity in range(1, 6)
    ]
    suite = {
        "rows": 120,
        "of": 300,
        "left_out": ["180 rows of 300"],
        "severities": [1, 2, 3, 4, 5],
        "draws": 100,
        "clean": figure(),
        "mean": figure(),
        "difference": figure(-0.3),
        "corruptions": [{"name": name, "group": "x", "value": figure(), "difference": figure(-0.3)} for name in names],
        "cells": cells,
        "distance": [{"severity": at, "auroc": 0.6, "low": 0.5, "high": 0.7} for at in range(1, 6)],
    }
    sets = [one] * 5 + [{"name": text, "source": text, "problem": text}]
    return {"metric": "accuracy", "higher_is_better": True, "judged": "test", "sets": sets, "suite": suite}


def _swaps(text: str, labels: list[str]) -> dict[str, Any]:
    said = {"prediction": labels[0], "probability": 0.9}
    example = {"origin": text, "text": text, "changed_text": text, "before": said, "after": said, "shift": 0.5}
    pair = {"from": text, "to": text, "texts": 9, "changed": 0.1, "label": labels[1], "shift": figure()}
    group = {"words": [text, text], "rows": 9, "variants": 20, "read": 10, "changed": figure(), "shift": figure()}
    return {"split": "test", "of": 500, "groups": [{**group, "pairs": [pair] * 20, "examples": [example] * 8}] * 3}


def _wise(text: str) -> dict[str, Any]:
    alphas = [at / 10 for at in range(11)]
    curve = [{"alpha": alpha, "value": figure()} for alpha in alphas]
    return {
        "metric": "accuracy",
        "higher_is_better": True,
        "alpha": 0.5,
        "fixed": False,
        "validated": True,
        "curve": [{"alpha": alpha, "validation": 0.8, "low": 0.7, "high": 0.9} for alpha in alphas],
        "sets": [{"name": text, "rows": 50, "of": 60, "curve": curve, "gain": figure(0.0)}] * 3,
    }
