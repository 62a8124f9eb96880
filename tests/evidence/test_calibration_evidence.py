"""The evidence of calibration and of distance: planted errors are told, and only validation is fitted to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from small import fit_text, weights
from torch import Tensor

import unfreeze
from unfreeze.data.manifest import Examples, Manifest
from unfreeze.errors import RunError
from unfreeze.evaluation.calibration import FILE, read_calibration
from unfreeze.evaluation.out_of_distribution import FILE as REFERENCE
from unfreeze.evidence import calibration, out_of_distribution
from unfreeze.recipe import EvaluationRecipe, Recipe
from unfreeze.tasks import TASKS
from unfreeze.tasks._metrics import calibration_error


def context(
    task: str,
    splits: dict[str, tuple[Tensor, Tensor]],
    folder: Path,
    labels: int = 3,
    features: dict[str, Tensor] | None = None,
    bootstrap: int = 200,
) -> Any:
    """What evidence is collected from: outputs and targets of each split."""
    (folder / "model").mkdir(exist_ok=True)
    names = tuple(f"<label {number}>" for number in range(labels)) if task != "regression" else ()
    about = Manifest(
        "data.csv", "text", task, "said", (), names, {}, {}, "by seed", "0" * 64, target_mean=5.0, target_scale=2.0
    )
    kept = {
        split: SimpleNamespace(outputs=outputs, features=(features or {}).get(split))
        for split, (outputs, _) in splits.items()
    }

    def rows(targets: Tensor) -> Examples:
        numbers = range(len(targets))
        return Examples([f"text {row}" for row in numbers], [], [f"row {row}" for row in numbers])

    return SimpleNamespace(
        judged=next((split for split in ("test", "validation") if split in splits), ""),
        kept=kept,
        manifest=about,
        task=TASKS.get(task),
        folder=folder,
        recipe=Recipe(evaluation=EvaluationRecipe(bootstrap=bootstrap)),
        outputs=lambda split: splits[split][0],
        features=lambda split: kept[split].features,
        targets=lambda split: splits[split][1],
        feeds={split: SimpleNamespace(examples=rows(targets)) for split, (_, targets) in splits.items()},
    )


def classes(rows: int, temperature: float, seed: int, count: int = 3) -> tuple[Tensor, Tensor]:
    """Outputs that are too extreme by a factor, and labels from the true probabilities."""
    draw = torch.Generator().manual_seed(seed)
    outputs = 1.5 * torch.randn(rows, count, generator=draw)
    return outputs * temperature, torch.multinomial(outputs.softmax(dim=1), 1, generator=draw)[:, 0]


def several(rows: int, temperature: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    outputs = 1.5 * torch.randn(rows, len(temperature), generator=draw)
    return outputs * temperature, torch.bernoulli(outputs.sigmoid(), generator=draw)


def told(made: Any) -> dict[str, Any]:
    found = calibration.collect(made)
    assert found is not None
    return dict(json.loads(json.dumps(found)))


def test_planted_overconfidence_is_told_and_mended(tmp_path: Path) -> None:
    made = context("classification", {"validation": classes(3000, 3.0, 0), "test": classes(4000, 3.0, 1)}, tmp_path)
    found = told(made)
    assert found["temperature"]["value"] == pytest.approx(3, rel=0.1)
    test = found["splits"]["test"]
    outputs, targets = made.outputs("test"), made.targets("test")
    top, guess = outputs.softmax(dim=1).max(dim=1)
    right = (guess == targets).numpy()
    assert test["before"]["ece"]["value"] == pytest.approx(calibration_error(top.numpy(), right), abs=1e-6)
    assert test["before"]["ece"]["low"] > 0.08
    assert test["after"]["ece"]["value"] < 0.03
    for name in ("ece", "ece_equal_mass", "brier", "nll"):
        assert test["difference"][name]["high"] < 0
        assert test["before"][name]["low"] < test["before"][name]["value"] < test["before"][name]["high"]
    one_hot = torch.eye(3)[targets]
    brier = (outputs.softmax(dim=1) - one_hot).square().sum(dim=1).mean()
    assert test["before"]["brier"]["value"] == pytest.approx(float(brier), abs=1e-5)
    nll = torch.nn.functional.cross_entropy(outputs, targets)
    assert test["before"]["nll"]["value"] == pytest.approx(float(nll), abs=1e-5)
    assert found["findings"][0]["kind"] == "info"


def test_the_diagram_says_how_often_each_probability_came_true(tmp_path: Path) -> None:
    made = context("classification", {"validation": classes(500, 3.0, 0), "test": classes(4000, 3.0, 1)}, tmp_path)
    found = told(made)["reliability"]
    assert sum(bin_["entries"] for bin_ in found["before"]) == 4000
    for side, sign in (("before", 0.0), ("after", 1.0)):
        for bin_ in found[side]:
            assert bin_["from"] <= bin_["probability"] <= bin_["to"] + 1e-9
            observed = bin_["observed"]
            assert observed["low"] <= observed["value"] <= observed["high"]
            if sign and bin_["entries"] > 100:
                assert bin_["probability"] == pytest.approx(observed["value"], abs=0.08)
    assert found["before"][-1]["observed"]["high"] < found["before"][-1]["probability"]


def test_a_bin_of_one_row_is_uncertain(tmp_path: Path) -> None:
    one = (torch.tensor([[3.0, 0.0, 0.0]]).repeat(2, 1), torch.tensor([0, 0]))
    found = told(context("classification", {"validation": one, "test": one}, tmp_path))["reliability"]["before"]
    assert [bin_["entries"] for bin_ in found] == [2]
    assert found[0]["observed"]["low"] < 0.5


def test_only_validation_is_fitted_to(tmp_path: Path) -> None:
    validation = classes(1000, 2.0, 0)
    found = [
        told(context("classification", {"validation": validation, "test": test}, tmp_path))
        for test in (classes(800, 2.0, 1), classes(600, 9.0, 2))
    ]
    assert found[0]["temperature"] == found[1]["temperature"]
    wished = [[(item["error_rate"], item["threshold"]) for item in each["abstention"]["wished"]] for each in found]
    assert set(wished[0]) <= set(wished[1]) or set(wished[1]) <= set(wished[0])


def test_coverage_and_error_are_those_of_the_threshold(tmp_path: Path) -> None:
    made = context("classification", {"validation": classes(2000, 1.0, 0), "test": classes(2000, 1.0, 1)}, tmp_path)
    found = told(made)["abstention"]
    kept = read_calibration(tmp_path / "model")
    assert kept is not None
    sure = kept.confidence(made.outputs("test"))
    right = (made.outputs("test").argmax(dim=1) == made.targets("test")).numpy()
    for item in found["wished"]:
        if item["threshold"] is None:
            assert item["error_rate"] < found["lowest_rate"]
            continue
        answered = sure >= item["threshold"]
        assert item["test"]["coverage"]["value"] == pytest.approx(answered.mean())
        assert item["test"]["error"]["value"] == pytest.approx((~right[answered]).mean())
        assert item["test"]["error"]["low"] <= item["error_rate"] * 1.2
        assert kept.step_for(item["error_rate"]).threshold == item["threshold"]
    assert [item for item in found["wished"] if item["threshold"] is not None]
    curve = found["curve"]
    assert [point["coverage"] for point in curve] == sorted(point["coverage"] for point in curve)
    assert (curve[-1]["coverage"], curve[-1]["error"]) == (1.0, pytest.approx(found["wrong"]["value"]))
    ends = found["wrong"]["low"], found["wrong"]["high"]
    assert (curve[-1]["low"], curve[-1]["high"]) == pytest.approx(ends, abs=0.01)
    assert all(0 <= point["low"] <= point["error"] <= point["high"] <= 1 for point in curve)
    assert curve[0]["high"] - curve[0]["low"] > 0, "the surest few, all right, are no proof"
    assert curve[0]["error"] < 0.5 * curve[-1]["error"]
    assert found["area"]["low"] < found["area"]["value"] < found["area"]["high"] < found["wrong"]["value"]


def test_each_label_of_several_is_mended(tmp_path: Path) -> None:
    planted = torch.tensor([1.0, 4.0, 0.4])
    made = context("multilabel", {"validation": several(4000, planted, 0), "test": several(4000, planted, 1)}, tmp_path)
    found = told(made)
    kept = read_calibration(tmp_path / "model")
    assert kept is not None
    assert kept.temperature == pytest.approx(planted.tolist(), rel=0.15)
    assert found["temperature"]["lowest"] == min(kept.temperature)
    assert {item["label"] for item in found["temperature"]["labels"]} == {f"<label {number}>" for number in range(3)}
    before, after = (found["splits"]["test"][side] for side in ("before", "after"))
    assert after["ece"]["value"] < 0.02 < before["ece"]["low"]
    brier = (made.outputs("test").sigmoid() - made.targets("test")).square().mean()
    assert before["brier"]["value"] == pytest.approx(float(brier), abs=1e-5)
    wrong = ((made.outputs("test") >= 0) != (made.targets("test") > 0.5)).any(dim=1).double().mean()
    assert found["abstention"]["wrong"]["value"] == pytest.approx(float(wrong))


def test_many_labels_are_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = torch.ones(3)
    splits = {"validation": several(300, planted, 0), "test": several(500, planted, 1)}
    monkeypatch.setattr(calibration, "MOST_CELLS", 600)
    found = told(context("multilabel", splits, tmp_path))
    assert found["thinned"] == 200
    assert sum(bin_["entries"] for bin_ in found["reliability"]["before"]) == 600


def test_intervals_around_numbers_hold_what_they_promise(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)

    def numbers(rows: int) -> tuple[Tensor, Tensor]:
        targets = torch.randn(rows, generator=draw)
        return (targets + 0.25 * torch.randn(rows, generator=draw))[:, None], targets

    found = told(context("regression", {"validation": numbers(900), "test": numbers(3000)}, tmp_path))
    assert found["scale"]["before"] == 2.0
    assert found["scale"]["after"] == pytest.approx(0.5, rel=0.1)
    assert found["nll"]["difference"]["high"] < 0
    for item in found["coverage"]:
        assert item["conformal"]["low"] - 0.03 < item["level"] < item["conformal"]["high"] + 0.03
        assert item["normal_after"]["value"] == pytest.approx(item["level"], abs=0.04)
        assert item["normal_before"]["value"] > item["level"]
    kept = read_calibration(tmp_path / "model")
    assert kept is not None
    assert kept.radius == pytest.approx(1.645 * 0.5, rel=0.1)
    assert found["kept"] == {"radius": kept.radius, "level": 0.9}


def test_perfect_numbers_have_an_interval_of_no_width(tmp_path: Path) -> None:
    exact = (torch.arange(40.0)[:, None], torch.arange(40.0))
    found = told(context("regression", {"validation": exact, "test": exact}, tmp_path))
    assert {item["conformal"]["value"] for item in found["coverage"]} == {1.0}
    assert found["kept"]["radius"] == 0.0


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_without_validation_nothing_is_fitted(task: str, tmp_path: Path) -> None:
    splits = {"test": classes(50, 1.0, 0) if task == "classification" else (torch.ones(9, 1), torch.zeros(9))}
    found = told(context(task, splits, tmp_path))
    assert found["fitted_on"] == ""
    assert not (tmp_path / "model" / FILE).exists()
    if task == "classification":
        assert set(found["splits"]["test"]) == {"before"}
        assert "abstention" not in found


def test_without_a_test_it_is_told_on_validation(tmp_path: Path) -> None:
    found = told(context("classification", {"validation": classes(50, 1.0, 0)}, tmp_path))
    assert found["judged"] == "validation"
    assert set(found["splits"]["validation"]) == {"before", "after", "difference"}
    assert calibration.collect(context("classification", {}, tmp_path)) is None


def test_a_thousand_classes_and_many_rows_take_moments(tmp_path: Path) -> None:
    splits = {"validation": classes(3000, 1.0, 0, 1000), "test": classes(6000, 1.0, 1, 1000)}
    found = told(context("classification", splits, tmp_path, labels=1000))
    assert len(json.dumps(found)) < 40_000
    assert (tmp_path / "model" / FILE).stat().st_size < 80_000


# ------------------------------------------------------------------------------------------------- distance


def test_strange_test_rows_are_told(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    own = torch.randint(3, (600,), generator=draw)
    features = 10 * torch.eye(3, 8)[own] + torch.randn(600, 8, generator=draw)
    test = features[300:].clone()
    test[:30] += 40
    outputs = torch.zeros(300, 3)
    splits = {"validation": (outputs, own[:300]), "test": (outputs, own[300:])}
    made = context("classification", splits, tmp_path, features={"validation": features[:300], "test": test})
    found = out_of_distribution.collect(made)
    assert found is not None
    assert json.dumps(found)
    assert (found["rows"], found["classes"]) == (300, 3)
    share = next(item["share"] for item in found["test"]["beyond"] if item["percentile"] == 99)
    assert share["low"] < 0.1 < share["high"] + 0.02
    assert {row["origin"] for row in found["test"]["furthest"]} <= {f"row {row}" for row in range(30)}
    assert found["test"]["furthest"][0]["text"].startswith("text ")
    assert (tmp_path / "model" / REFERENCE).exists()
    assert out_of_distribution.collect(context("classification", {"test": splits["test"]}, tmp_path)) is None


# ---------------------------------------------------------------------------------------------- predictions


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> unfreeze.Run:
    from small import table

    folder = tmp_path_factory.mktemp("calibrated")
    data = table(folder / "table.csv", train=40, held_out=60)
    with only("calibration", "out-of-distribution"):
        return fit_text(home, folder / "run", data=data, method="full", epochs=4, lr=1e-2, **ASKED)


TEXTS = ["a good movie scene", "rain and wind today", "my bank card", "zzz qqq", "the old actor was never fine"]


def test_predictions_are_calibrated_and_the_same(run: unfreeze.Run) -> None:
    assert run.calibration is not None
    told_, plain = run.predict(TEXTS), run.predict(TEXTS, calibrated=False)
    assert [row["prediction"] for row in told_] == [row["prediction"] for row in plain]
    (temperature,) = run.calibration.temperature
    assert abs(math.log(temperature)) > 1e-3
    for one, other in zip(told_, plain, strict=True):
        labels = list(other["probabilities"])
        raw = np.log([other["probabilities"][label] for label in labels]) / temperature
        expected = np.exp(raw) / np.exp(raw).sum()
        assert [one["probabilities"][label] for label in labels] == pytest.approx(expected.tolist(), abs=1e-5)
        assert 0 <= one["ood_percentile"] == other["ood_percentile"] <= 100
    in_pairs = run.predict(TEXTS, batch_size=2)
    assert [row["ood_percentile"] for row in in_pairs] == [row["ood_percentile"] for row in told_]
    assert unfreeze.predict(run.path, TEXTS, calibrated=False) == plain


def test_the_saved_weights_and_the_gate_know_nothing_of_it(run: unfreeze.Run) -> None:
    before = weights(run)
    with (run.path / "model" / FILE).open() as file:
        kept = json.load(file)
    assert kept["task"] == "classification"
    outputs = [row["probabilities"] for row in run.predict(TEXTS, calibrated=False)]
    bare = unfreeze.load(run.path)
    vars(bare)["calibration"] = vars(bare)["reference"] = None
    assert [row["probabilities"] for row in bare.predict(TEXTS)] == outputs
    assert all("ood_percentile" not in row for row in bare.predict(TEXTS))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(run).items())


def test_abstaining_answers_the_sure_ones(run: unfreeze.Run) -> None:
    assert run.calibration is not None
    lowest, highest = run.calibration.steps[-1], run.calibration.steps[0]
    few, all_ = (run.predict(TEXTS, error_rate=step.rate) for step in (lowest, highest))
    guesses = [row["prediction"] for row in run.predict(TEXTS)]
    assert [row["best_guess"] for row in few] == guesses
    answered = [row for row in few if row["prediction"] is not None]
    assert len(answered) <= sum(row["prediction"] is not None for row in all_)
    for row in few:
        sure = max(row["probabilities"].values())
        assert row["prediction"] == (row["best_guess"] if sure >= lowest.threshold - 1e-6 else None)
    assert run.threshold(lowest.rate) == lowest
    with pytest.raises(RunError, match="lowest that they can show"):
        run.predict(TEXTS, error_rate=1e-6)


def test_a_merged_run_stays_calibrated(home: Path, tmp_path: Path) -> None:
    with only("calibration", "out-of-distribution"):
        adapter = fit_text(home, tmp_path / "run", method="bitfit", epochs=1, **ASKED)
    merged = unfreeze.merge(adapter.path, tmp_path / "merged")
    assert merged.calibration == adapter.calibration is not None
    assert [row["probabilities"] for row in merged.predict(TEXTS)] == [
        pytest.approx(row["probabilities"], abs=1e-5) for row in adapter.predict(TEXTS)
    ]


def test_without_calibration_there_is_nothing_to_abstain_by(home: Path, tmp_path: Path) -> None:
    bare = fit_text(home, tmp_path / "run", method="head", epochs=1)
    assert bare.calibration is None
    assert set(bare.predict(TEXTS)[0]) == {"origin", "text", "prediction", "probabilities"}
    with pytest.raises(RunError, match="no calibration to abstain by"):
        bare.predict(TEXTS, error_rate=0.1)


def test_the_calibration_error_has_one_interval_wherever_it_stands(tmp_path: Path) -> None:
    """That of result.json is that of the diagram's evidence: both are less what noise adds to a sum of differences."""
    from unfreeze.evaluation.intervals import with_intervals
    from unfreeze.tasks import TASKS

    made = context("classification", {"test": classes(300, 1.0, 1)}, tmp_path)
    scorer = TASKS.get("classification").scorer(made.manifest)
    scorer.update(made.outputs("test"), made.targets("test"))
    resamples, seed = made.recipe.evaluation.bootstrap, made.recipe.seed
    figure = with_intervals(scorer, resamples, seed)["ece"]
    assert told(made)["splits"]["test"]["before"]["ece"] == pytest.approx(figure, abs=1e-5)
    assert figure["low"] < figure["value"] < figure["high"]
