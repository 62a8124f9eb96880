"""Groups: figures as fairlearn and scikit-learn have them, gaps that were planted, chance told from them, remedies."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from planted import planted
from scipy.stats import spearmanr
from sklearn import metrics
from small import fit_images, fit_text

from unfreeze.errors import RunError
from unfreeze.evidence import groups as groups_evidence
from unfreeze.evidence._gaps import chance, compared, drawn, holm, told
from unfreeze.evidence._linear import linear_outputs, logistic_outputs, out_of_fold
from unfreeze.evidence._measures import of_classes, of_decisions, of_labels, of_numbers
from unfreeze.evidence._thresholds import choose, decided
from unfreeze.run import Run
from unfreeze.tasks._metrics import calibration_error

# ------------------------------------------------------------------------- figures, against those of other libraries


def rows_of_two(seed: int = 0, count: int = 400) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, 2, count)
    outputs = draw.normal(size=(count, 2))
    outputs[np.arange(count), targets] += 1
    return outputs, targets, draw.integers(0, 3, count)


def test_figures_and_gaps_are_those_of_fairlearn() -> None:
    outputs, targets, groups = rows_of_two()
    frame = MetricFrame(
        metrics={
            "accuracy": metrics.accuracy_score,
            "balanced_accuracy": metrics.balanced_accuracy_score,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
            "selection_rate": selection_rate,
            "macro_f1": lambda true, given: metrics.f1_score(true, given, average="macro"),
        },
        y_true=targets,
        y_pred=outputs.argmax(axis=1),
        sensitive_features=groups,
    )
    found = told(of_classes(outputs, targets, 2, positive=1), ["a", "b", "c"], groups, 0, 0)
    for name in frame.by_group:
        assert found.estimate[name] == pytest.approx(frame.by_group[name].to_numpy())
        gap = found.gap(name)
        assert gap is not None
        assert gap["difference"]["value"] == pytest.approx(frame.difference()[name])
        assert gap["ratio"]["value"] == pytest.approx(frame.ratio()[name])
        assert gap["highest"] == "abc"[int(frame.by_group[name].argmax())]
        assert gap["lowest"] == "abc"[int(frame.by_group[name].argmin())]


def test_calibration_of_a_group_is_that_of_its_rows() -> None:
    outputs, targets, groups = rows_of_two()
    found = of_classes(outputs, targets, 2, 1)(groups, 3)
    shares = torch.tensor(outputs).softmax(dim=1).numpy()
    for group in range(3):
        mine = groups == group
        top, right = shares[mine].max(axis=1), shares[mine].argmax(axis=1) == targets[mine]
        assert found["ece"][group] == pytest.approx(calibration_error(top, right))
        assert found["overconfidence"][group] == pytest.approx(top.mean() - right.mean())
        assert found["nll"][group] == pytest.approx(metrics.log_loss(targets[mine], shares[mine]))


def test_rates_of_many_classes_are_means_over_those_that_occur() -> None:
    draw = np.random.default_rng(1)
    targets, groups = draw.integers(0, 5, 300), draw.integers(0, 2, 300)
    outputs = draw.normal(size=(300, 7)) + 2 * np.eye(7)[targets]
    found = of_classes(outputs, targets, 7)(groups, 2)
    for group in range(2):
        true, given = targets[groups == group], outputs[groups == group].argmax(axis=1)
        assert found["true_positive_rate"][group] == pytest.approx(
            metrics.recall_score(true, given, average="macro", labels=range(5))
        )
        matrix = metrics.confusion_matrix(true, given, labels=range(7))
        false = (matrix.sum(axis=0) - matrix.diagonal()) / (len(true) - matrix.sum(axis=1))
        assert found["false_positive_rate"][group] == pytest.approx(false.mean())
        assert found["macro_f1"][group] == pytest.approx(metrics.f1_score(true, given, average="macro"))
    assert "selection_rate" not in found


def test_figures_of_several_labels() -> None:
    draw = np.random.default_rng(2)
    targets, groups = draw.random((300, 4)) < 0.4, draw.integers(0, 2, 300)
    outputs = draw.normal(size=(300, 4)) + 2 * targets - 1
    rows = of_labels(outputs, targets, precision=True)
    found = {**rows(groups, 2), **rows.others(groups, 2)}
    for group in range(2):
        true, given, scores = (each[groups == group] for each in (targets, outputs >= 0, outputs))
        assert found["micro_f1"][group] == pytest.approx(metrics.f1_score(true, given, average="micro"))
        assert found["macro_f1"][group] == pytest.approx(metrics.f1_score(true, given, average="macro"))
        assert found["subset_accuracy"][group] == pytest.approx(metrics.accuracy_score(true, given))
        assert found["true_positive_rate"][group] == pytest.approx(metrics.recall_score(true, given, average="micro"))
        assert found["selection_rate"][group] == pytest.approx(given.mean())
        assert found["false_positive_rate"][group] == pytest.approx(given[~true].mean())
        expected = metrics.average_precision_score(true, scores, average="macro")
        assert found["mean_average_precision"][group] == pytest.approx(expected, abs=1e-6)


def test_figures_of_numbers() -> None:
    draw = np.random.default_rng(3)
    targets, groups = draw.normal(1000, 20, 300), draw.integers(0, 2, 300)
    outputs = targets + draw.normal(2, 5, 300)
    found = of_numbers(outputs, targets)(groups, 2)
    for group in range(2):
        true, given = targets[groups == group], outputs[groups == group]
        assert found["mae"][group] == pytest.approx(metrics.mean_absolute_error(true, given))
        assert found["rmse"][group] == pytest.approx(metrics.root_mean_squared_error(true, given))
        assert found["r2"][group] == pytest.approx(metrics.r2_score(true, given))
        assert found["bias"][group] == pytest.approx((given - true).mean())
        assert found["spearman"][group] == pytest.approx(spearmanr(true, given).statistic, abs=0.02)


def test_groups_without_rows_or_without_positives_have_no_figure() -> None:
    outputs = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = of_classes(outputs, np.array([0, 1, 0]), 2, 1)(np.array([0, 0, 2]), 3)
    assert np.isnan(found["accuracy"][1])
    assert np.isnan(found["true_positive_rate"][2])
    assert found["true_positive_rate"][0] == 1


# ------------------------------------------------------------------------------------------- intervals and chance


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Over many draws of the data, the interval of a difference of 0.15 holds it in about 95 of 100."""
    held = {"accuracy": 0, "overconfidence": 0}
    for seed in range(200):
        draw = np.random.default_rng(seed)
        groups = np.repeat([0, 1], [60, 90])
        targets = draw.integers(0, 2, 150)
        right = draw.random(150) < np.where(groups == 0, 0.9, 0.75)
        outputs = np.where((np.arange(2) == np.where(right, targets, 1 - targets)[:, None]), 2.0, 0.0)
        found = told(of_classes(outputs, targets, 2, 1), ["a", "b"], groups, 200, seed)
        for name, truth in (("accuracy", 0.15), ("overconfidence", -0.15)):
            one = found.difference(name, 0, 1)
            assert one["low"] is not None
            assert one["high"] is not None
            held[name] += one["low"] <= truth <= one["high"]
    assert all(180 <= count <= 198 for count in held.values()), held


def test_all_rows_right_is_not_certainty() -> None:
    """A bootstrap of a group in which all rows are right has no width; Wilson's interval does."""
    targets = np.tile([0, 1], 40)
    found = told(of_classes(np.eye(2)[targets] * 9, targets, 2, 1), ["a", "b"], np.repeat([0, 1], 40), 100, 0)
    one = found.figure("accuracy", 0)
    assert one["value"] == 1.0
    assert one["low"] == pytest.approx(40 / (40 + 1.96**2), abs=1e-3)


def test_large_groups_are_resampled_in_part() -> None:
    """Of 20,000 rows a resample draws 2,000; the interval is as narrow as that of all."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 2, 20_000)
    outputs = np.eye(2)[targets] * np.where(draw.random(20_000) < 0.8, 2, -2)[:, None]
    draws = drawn(of_classes(outputs, targets, 2, 1), np.zeros(20_000, dtype=int), 1, 400, 0)["accuracy"]
    assert draws.std() == pytest.approx((0.8 * 0.2 / 20_000) ** 0.5, rel=0.15)


def test_chance_alone_is_called_so() -> None:
    """p-values of groups that mean nothing are spread evenly."""
    found = []
    for seed in range(60):
        outputs, targets, groups = rows_of_two(seed, 200)
        rows = of_classes(outputs, targets, 2, 1)
        found.append(chance(rows, groups, 3, ["accuracy"], compared(rows, groups, 3), seed)["accuracy"])
    assert 0.3 < np.mean(found) < 0.7
    assert np.mean(np.array(found) < 0.1) < 0.25


def test_a_planted_gap_is_no_chance() -> None:
    outputs, targets, groups = rows_of_two()
    outputs[groups == 1] = outputs[groups == 1][:, ::-1]
    rows = of_classes(outputs, targets, 2, 1)
    assert chance(rows, groups, 3, ["accuracy"], compared(rows, groups, 3), 0)["accuracy"] == 0.001


def test_small_groups_are_not_compared() -> None:
    outputs, targets, _ = rows_of_two()
    groups = np.array([0] * 200 + [1] * 190 + [2] * 10)
    found = told(of_classes(outputs, targets, 2, 1), ["a", "b", "few"], groups, 50, 0)
    assert not found.usable["accuracy"][2]
    for name in ("accuracy", "selection_rate"):
        gap = found.gap(name)
        assert gap is not None
        assert "few" not in (gap["highest"], gap["lowest"])


def test_holm_adjusts_for_their_number() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


# --------------------------------------------------------------------------------------------------- linear judges


def test_no_row_judges_itself() -> None:
    """Labels that say nothing cannot be predicted from outside of the fold, however many features there are."""
    torch.manual_seed(0)
    features, targets = torch.randn(200, 150), torch.randint(0, 2, (200,))
    outside = out_of_fold("classification", features, targets, 2, 5, 0).argmax(dim=1)
    inside = linear_outputs("classification", features, targets, features, 2).argmax(dim=1)
    assert float((inside == targets).float().mean()) > 0.95
    assert 0.35 < float((outside == targets).float().mean()) < 0.65


@pytest.mark.parametrize("classes", [3, 2000])
def test_judges_of_few_and_many_classes(classes: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(600, 20)
    targets = features[:, :3].argmax(dim=1)
    outputs = linear_outputs("classification", features[:400], targets[:400], features[400:], classes)
    assert outputs.shape == (200, classes)
    assert float((outputs.argmax(dim=1) == targets[400:]).float().mean()) > 0.85


# --------------------------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("criterion", "name"), [("equal-opportunity", "true_positive_rate"), ("equal-selection", "selection_rate")]
)
def test_thresholds_close_a_planted_gap(criterion: str, name: str) -> None:
    """Scores of one group are lower throughout: one threshold for all misses its positives."""

    def made(seed: int) -> tuple[Any, Any, Any, Any]:
        draw = np.random.default_rng(seed)
        groups, targets = draw.integers(0, 2, 3000), draw.integers(0, 2, 3000)
        margin = 2.5 * targets - 1.25 - 1.2 * (groups == 1) + draw.normal(size=3000)
        return groups, targets, 1 / (1 + np.exp(-margin)), np.stack([np.zeros(3000), margin], axis=1)

    groups, targets, scores, _ = made(1)
    limits = choose(scores, targets == 1, groups, ["a", "b"], criterion, "accuracy")
    assert limits["b"] < limits["a"]
    groups, targets, scores, outputs = made(2)
    gaps = {}
    for kind, own in (("one", {}), ("by group", limits)):
        chosen = decided(scores, ["ab"[group] for group in groups], own).astype(int)
        gap = told(of_decisions(outputs, chosen, targets, 2, 1), ["a", "b"], groups, 0, 0).gap(name)
        assert gap is not None
        gaps[kind] = gap["difference"]["value"]
    assert gaps["one"] > 0.2
    assert gaps["by group"] < 0.06


def test_groups_with_few_rows_have_the_common_threshold() -> None:
    draw = np.random.default_rng(0)
    groups = np.array([0] * 100 + [1] * 100 + [2] * 8)
    scores, positive = draw.random(208), draw.random(208) < 0.5
    limits = choose(scores, positive, groups, ["a", "b", "few"], "equal-opportunity", "accuracy")
    assert set(limits) == {"a", "b"}
    assert decided(np.array([0.5, 0.49]), ["few", "few"], limits).tolist() == [True, False]
    assert choose(scores[:50], positive[:50], groups[:50], ["a"], "equal-selection", "accuracy") == {}


# --------------------------------------------------------------------------------------------------- whole runs

OPTIONS: dict[str, Any] = {"slices": ["style", "age"], "groups": ["style"], "epochs": 6, "method": "head"}


def gap_of(run: Run, name: str = "accuracy") -> dict[str, Any]:
    (column,) = [one for one in run.evidence["groups"]["columns"] if one["column"] == "style"]
    return {group["name"]: group["figures"][name]["value"] for group in column["groups"]} | column["gaps"][name]


@pytest.fixture(scope="module")
def plain(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with only("groups"):
        options = {**OPTIONS, **ASKED, "data": planted(), "evaluation__bootstrap": 200}
        return fit_text(home, tmp_path_factory.mktemp("plain") / "run", **options)


def test_a_planted_gap_is_seen(plain: Run) -> None:
    gap = gap_of(plain)
    assert gap["worst"] == "odd"
    assert gap["usual"] > 0.9
    assert gap["odd"] < 0.6
    assert gap["difference"]["low"] > 0.2
    assert gap["p_adjusted"] < 0.05


def test_a_column_that_says_nothing_has_no_gap(plain: Run) -> None:
    (age,) = [one for one in plain.evidence["groups"]["columns"] if one["column"] == "age"]
    assert len(age["groups"]) == 4
    assert sum(group["rows"] for group in age["groups"]) == 300
    assert all(gap.get("p_adjusted", 1) > 0.05 for gap in age["gaps"].values())


def test_a_head_alone_is_not_compared_with_itself(plain: Run) -> None:
    found = plain.evidence["groups"]
    assert "only the head learned" in found["before"]
    assert "before" not in found["columns"][0]


REMEDIES = {
    "sampling": {"sampling": "group-balanced"},
    "weights": {"class_weights": "group-balanced"},
    "group DRO": {"group_dro": 0.01},
}


@pytest.mark.parametrize("remedy", REMEDIES)
def test_each_remedy_reduces_the_gap(home: Path, tmp_path: Path, plain: Run, remedy: str) -> None:
    chosen = {"evaluation__metric": "worst_group_accuracy", **REMEDIES[remedy]}
    with only("groups"):
        run = fit_text(home, tmp_path / "run", **OPTIONS, **ASKED, data=planted(), **chosen)
    before, after = gap_of(plain), gap_of(run)
    assert after["difference"]["value"] < before["difference"]["value"] - 0.2
    assert after["odd"] > before["odd"] + 0.15


def test_the_worst_group_chooses_the_epoch(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", **{**OPTIONS, "epochs": 3}, data=planted(400), metric="worst_group_accuracy")
    scores = [epoch["validation"]["worst_group_accuracy"] for epoch in run.result["history"]]
    assert scores[run.result["best_epoch"] - 1] == max(scores)
    assert run.result["validation"]["worst_group_accuracy"]["value"] == pytest.approx(max(scores))
    right: dict[tuple[str, str], list[bool]] = {}
    said = map(json.loads, (run.path / "predictions.jsonl").read_text().splitlines())
    styles = {f"row {number}": row["style"] for number, row in enumerate(planted(400), 1)}
    for row in said:
        right.setdefault((styles[row["origin"]], row["target"]), []).append(row["prediction"] == row["target"])
    worst = min(np.mean(hits) for hits in right.values() if len(hits) >= 10)
    assert run.result["test"]["worst_group_accuracy"]["value"] == pytest.approx(worst)


def test_thresholds_are_used_only_where_they_are_asked_for(plain: Run) -> None:
    found = plain.evidence["groups"]["thresholds"]
    (one,) = [each for each in found if each["column"] == "style" and each["criterion"] == "equal-opportunity"]
    with_, without = (one[kind]["gaps"]["true_positive_rate"]["value"] for kind in ("with", "without"))
    assert with_ < without - 0.15
    rows = [row for row in planted() if row["split"] == "test"]
    usual = plain.predict(rows, precision="float32")
    decided_ = plain.predict(rows, precision="float32", by_group="style")
    assert all("threshold" not in row for row in usual)
    rates = {}
    for kind, predicted in (("usual", usual), ("decided", decided_)):
        hits = {
            style: np.mean(
                [
                    p["prediction"] == "film"
                    for p, r in zip(predicted, rows, strict=True)
                    if r["style"] == style and r["label"] == "film"
                ]
            )
            for style in ("usual", "odd")
        }
        rates[kind] = hits["usual"] - hits["odd"]
    assert rates["usual"] == pytest.approx(without, abs=1e-9)
    assert rates["decided"] == pytest.approx(with_, abs=1e-9)
    assert {row["group"] for row in decided_} == {"usual", "odd"}
    assert json.loads((plain.path / "group_thresholds.json").read_text())["positive"] == "film"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such column": ({"by_group": "stile"}, "no thresholds by 'stile'. Did you mean 'style'"),
    "no such criterion": ({"by_group": "style", "criterion": "equal-oportunity"}, "Did you mean 'equal-opportunity'"),
    "both": ({"by_group": "style", "error_rate": 0.1}, "got both"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_decided_is_said(plain: Run, name: str) -> None:
    options, said = WRONG[name]
    with pytest.raises(RunError, match=said):
        plain.predict([{"text": "a movie", "style": "odd"}], **options)


def test_thresholds_need_the_group_of_each_row(plain: Run) -> None:
    with pytest.raises(RunError, match="need that column in the data"):
        plain.predict(["a movie"], by_group="style")
    (row,) = plain.predict([{"text": "a movie", "style": "never seen"}], by_group="style")
    assert row["threshold"] == 0.5


def test_gaps_that_fine_tuning_closed_are_called_narrower(home: Path, tmp_path: Path) -> None:
    """Training on balanced groups makes features that a probe before training did not have."""
    with only("groups"):
        options = {"slices": ["style"], "epochs": 3, "method": "full", "sampling": "group-balanced", **ASKED}
        run = fit_text(home, tmp_path / "run", data=planted(), evaluation__bootstrap=100, **options)
    change = run.evidence["groups"]["columns"][0]["before"]
    assert change["rows"] == 300
    assert change["gaps"]["accuracy"]["before"]["value"] > 0.1
    assert change["gaps"]["accuracy"]["verdict"] == "narrower"
    assert change["gaps"]["accuracy"]["change"]["high"] < 0


CHANGES = {"opened": (0.9, (0.95, 0.6), "wider"), "closed": ((0.95, 0.6), 0.9, "narrower"), "none": (0.6, 1.0, "")}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_gap_is_told_from_chance(name: str) -> None:
    """A probe that is often wrong has wide gaps by chance; that these are gone after training is no merit."""
    draw = np.random.default_rng(0)
    groups, targets = draw.integers(0, 4, 800), draw.integers(0, 2, 800)
    was, now, verdict = CHANGES[name]

    def model(right: Any) -> Any:
        by_group = np.broadcast_to(right, 2)[(groups == 2).astype(int)]
        given = np.where(draw.random(800) < by_group, targets, 1 - targets)
        return of_classes(2.0 * np.eye(2)[given], targets, 2, 1)

    context: Any = SimpleNamespace(recipe=SimpleNamespace(evaluation=SimpleNamespace(bootstrap=300), seed=0))
    before = np.arange(800), model(was), model(now)
    found = groups_evidence._change(context, ["a", "b", "c", "d"], groups, before, ["accuracy"])
    groups_evidence.judge_changes([{"before": found}])
    assert found["gaps"]["accuracy"]["verdict"] == verdict


def test_one_of_many_changes_that_chance_made_large_is_not_called_wider() -> None:
    """Six figures of three columns are eighteen tests: one of them at p = 0.02 is what chance gives."""
    change = {"value": 0.1, "low": 0.01, "high": 0.2}

    def columns(smallest: float) -> list[dict[str, Any]]:
        p = [smallest, *[0.5] * 17]
        gaps = [{"change": change, "p": each} for each in p]
        return [{"before": {"gaps": dict(enumerate(gaps[start : start + 6]))}} for start in (0, 6, 12)] + [{}]

    for smallest, verdict in ((0.02, ""), (0.001, "wider")):
        made = columns(smallest)
        groups_evidence.judge_changes(made)
        first = made[0]["before"]["gaps"][0]
        assert first["verdict"] == verdict
        assert first["p_adjusted"] == pytest.approx(18 * smallest)
        assert made[1]["before"]["gaps"][0]["verdict"] == ""


def test_pictures_and_numbers_have_groups_too(home: Path, tmp_path: Path) -> None:
    lines = ["file_name,device"]
    folder = tmp_path / "pictures"
    import shutil

    shutil.copytree(home / "pictures", folder)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.png"))
    lines += [f"{path.as_posix()},camera {number % 2}" for number, path in enumerate(files)]
    (folder / "metadata.csv").write_text("\n".join(lines))
    (tmp_path / "home").mkdir()
    for name in ("cnn.safetensors",):
        shutil.copy(home / name, tmp_path / "home" / name)
    folder.rename(tmp_path / "home" / "pictures")
    with only("groups"):
        run = fit_images(tmp_path / "home", tmp_path / "run", slices=["device"], **ASKED)
        numbers = [{**row, "label": float(len(row["text"])) + 0.5} for row in planted(240)]
        measured = fit_text(home, tmp_path / "numbers", data=numbers, slices=["style"], task="regression", **ASKED)
    (column,) = run.evidence["groups"]["columns"]
    assert {group["name"] for group in column["groups"]} == {"camera 0", "camera 1"}
    assert all(group["small"] for group in column["groups"])
    assert column["gaps"] == {}
    (column,) = measured.evidence["groups"]["columns"]
    assert set(column["groups"][0]["figures"]) == {"rmse", "mae", "bias"}
    assert measured.evidence["groups"]["positive"] is None


def test_nothing_without_slices(home: Path, tmp_path: Path) -> None:
    with only("groups"):
        run = fit_text(home, tmp_path / "run", **ASKED)
    assert "groups" not in run.evidence


def test_models_fitted_together_are_scikit_learns() -> None:
    """Rows that a model is not fitted to do not matter to it, and one with a class less has never seen it."""
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(0)
    features = draw.normal(size=(150, 6))
    targets = np.where(features[:, 0] + 0.5 * draw.normal(size=150) > 0, 2, (features[:, 1] > 0).astype(int))
    fitted = np.stack([np.ones(150, bool), np.arange(150) % 3 > 0, targets > 0])
    given = torch.tensor(features).float(), torch.tensor(targets), torch.tensor(fitted)
    found = logistic_outputs(*given, torch.tensor(features).float(), 3, [0.1, 1.0, 0.1])
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    for number, strength in enumerate([0.1, 1.0, 0.1]):
        rows = fitted[number]
        # Of two classes scikit-learn has one vector of weights instead of two, whose squares count half as much.
        c = 2 * strength if len(np.unique(targets[rows])) == 2 else strength
        expected = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(x[rows], targets[rows]).predict_proba(x)
        seen = found[number].exp()[:, -expected.shape[1] :]
        assert np.abs(seen.numpy() - expected).max() < 2e-3
    assert float(found[2].exp()[:, 0].max()) < 1e-5
