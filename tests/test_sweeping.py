"""A sweep as a whole: what becomes of the best head, what is told of the others, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import BASE, essence, sentences, weights

import unfreeze
from unfreeze.errors import DivergedError, Interrupted, RecipeError, RunError, UserError
from unfreeze.progress import Silent
from unfreeze.recipe_io import load_recipe
from unfreeze.run import Run
from unfreeze.train.heads import HeadTraining

TRIED: dict[str, Any] = {"rates": (0.01, 0.1), "decays": (0.0, 0.2), "seeds": 3}
OPTIONS = {name: value for name, value in BASE.items() if name not in ("lr", "head_lr")} | {"epochs": 4}


def sweep(home: Path, output: Path, **options: Any) -> Run:
    asked = {**TRIED, **OPTIONS, **options}
    data = asked.pop("data", home / "table.csv")
    columns = {"target": "label", "split": "split"} if isinstance(data, Path) and data.suffix == ".csv" else {}
    return unfreeze.sweep(data, str(home / "bert"), output=output, **{**columns, **asked})


@pytest.fixture(scope="module")
def swept(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A sweep over data whose splits are drawn, from a seed that is not the default."""
    data = dict(zip(("text", "label"), map(list, zip(*sentences(80), strict=True)), strict=True))
    folder = tmp_path_factory.mktemp("sweep")
    table = folder / "data.jsonl"
    rows = (json.dumps({"text": text, "label": label}) for text, label in zip(*data.values(), strict=True))
    table.write_text("\n".join(rows))
    return sweep(home, folder / "run", data=table, seed=5)


def test_the_best_head_is_an_ordinary_run(swept: Run) -> None:
    files = {path.name for path in swept.path.iterdir()}
    assert files == {
        "recipe.resolved.yaml", "manifest.json", "quarantine.jsonl", "status.json", "result.json", "predictions.jsonl",
        "log.jsonl", "sweep.json", "model", "gate",
    }  # fmt: skip
    assert swept.status == "finished"
    assert swept.result["method"] == "head"
    assert swept.result["gate"]["passed"]
    assert swept.result["ledger"][0]["unchanged"]
    assert len(swept.predict(["a good movie", "rain again"])) == 2
    assert unfreeze.compare([swept.path])[0]["method"] == "head"
    assert any("the best of 12 heads by validation" in note for note in swept.result["notes"])


def test_its_recipe_gives_the_same_head(swept: Run, tmp_path: Path) -> None:
    recipe = load_recipe(swept.path / "recipe.resolved.yaml")
    best = swept.sweep["best"]
    assert (recipe.training.head_lr, recipe.training.weight_decay) == (best["head_lr"], best["weight_decay"])
    assert (recipe.seed, recipe.data.split_seed) == (best["seed"], 5)
    alone = unfreeze.fit(recipe=replace(recipe, output=replace(recipe.output, folder=str(tmp_path / "alone"))))
    assert alone.manifest.fingerprint == swept.manifest.fingerprint
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(swept)[name], tensor, rtol=1e-4, atol=1e-5)
    one, other = essence(swept.path), essence(alone.path)
    assert one.keys() == other.keys()
    same = ["best_epoch", "phases", "metric", "rows", "learned_parameters", "stopped", "test_fingerprint", "ledger"]
    assert all(one[key] == other[key] for key in same)
    assert one["test"]["nll"]["value"] == pytest.approx(other["test"]["nll"]["value"], rel=1e-4)
    assert one["validation"]["nll"]["value"] == pytest.approx(other["validation"]["nll"]["value"], rel=1e-4)
    logs = ((run.path / "log.jsonl").read_text().splitlines() for run in (swept, alone))
    first, second = ([json.loads(line) for line in lines] for lines in logs)
    assert [line.keys() for line in first] == [line.keys() for line in second]
    text = (swept.path / "recipe.resolved.yaml").read_text()
    assert text.count("the best of 12 heads by validation (sweep.json)") == 3


def test_the_table_holds_every_head_and_the_choice_is_by_validation_alone(swept: Run) -> None:
    sweep = unfreeze.load(swept.path).sweep
    table, best = sweep["table"], sweep["best"]
    assert {(row["head_lr"], row["weight_decay"]) for row in table} == {(r, d) for r in (0.01, 0.1) for d in (0.0, 0.2)}
    means = [row["mean"] for row in table]
    assert means == sorted(means, reverse=True)
    for row in table:
        values = torch.tensor([seed["value"] for seed in row["seeds"]], dtype=torch.float64)
        assert [seed["seed"] for seed in row["seeds"]] == [5, 6, 7]
        assert row["mean"] == pytest.approx(float(values.mean()))
        assert row["spread"] == pytest.approx(float(values.std()))
    assert best["value"] == max(seed["value"] for seed in table[0]["seeds"])
    assert best["value"] == pytest.approx(swept.result["validation"][sweep["metric"]]["value"])
    assert (best["head_lr"], best["weight_decay"]) == (table[0]["head_lr"], table[0]["weight_decay"])


def test_the_lowest_comes_first_where_less_is_better(home: Path, tmp_path: Path) -> None:
    run = sweep(home, tmp_path / "run", metric="nll", seeds=1)
    means = [row["mean"] for row in run.sweep["table"]]
    assert means == sorted(means)
    assert run.sweep["best"]["value"] == means[0]
    assert run.sweep["table"][0]["spread"] is None


def test_one_head_alone(home: Path, tmp_path: Path) -> None:
    run = sweep(home, tmp_path / "run", rates=0.05, decays=[0], seeds=1)
    assert run.sweep["heads"] == 1
    assert run.sweep["best"]["head_lr"] == 0.05


def test_a_run_of_fit_tells_of_no_sweep(home: Path, tmp_path: Path) -> None:
    run = unfreeze.fit(home / "table.csv", str(home / "bert"), output=tmp_path / "run", method="head", **OPTIONS)
    with pytest.raises(RunError, match="was not made by a sweep"):
        _ = run.sweep


def test_a_run_that_was_killed_before_its_result_is_resumed_alone(home: Path, tmp_path: Path) -> None:
    run = sweep(home, tmp_path / "run")
    whole = weights(run)
    (run.path / "result.json").unlink()
    shutil.rmtree(run.path / "model")
    (run.path / "status.json").write_text('{"status": "running"}')
    again = unfreeze.resume(run.path)
    for name, tensor in weights(again).items():
        torch.testing.assert_close(whole[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "full"}, "A sweep trains heads on frozen features: its method is 'head'. Got 'full' instead."),
        ({"phases": [{"learn": "head"}]}, "Got written phases instead"),
        ({"optimizer": "lion"}, "A sweep updates heads by adamw or sgd. Got training.optimizer 'lion' instead."),
        ({"ema": 0.9}, "leave training.ema out"),
        ({"augment": ["word_swap"]}, "leave training.augment out"),
        ({"tensorboard": True}, "leave output.tensorboard out"),
        ({"rates": (-1,)}, "rates must be numbers greater than 0"),
        (
            {"data": sentences(40), "validation_share": 0.0},
            "A sweep chooses by validation, and there are no validation rows",
        ),
        ({"epoch": 3}, "unknown option 'epoch'"),
    ],
)
def test_what_is_refused(home: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        sweep(home, tmp_path / "run", **options)
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_all_problems_are_told_at_once(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        sweep(home, tmp_path / "run", method="lp-ft", optimizer="adafactor", ema=0.9)
    assert len(caught.value.problems) == 3


def test_a_taken_folder_is_refused_before_any_work(home: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        sweep(home, tmp_path / "run", data="nowhere.csv")


def test_nothing_is_written_where_every_head_diverged(home: Path, tmp_path: Path) -> None:
    options = {"optimizer": "sgd", "grad_clip": None, "schedule": "constant", "warmup": 0.0}
    with pytest.raises(DivergedError, match=r"with each rate from 2e\+38 to 3e\+38"):
        sweep(home, tmp_path / "run", rates=(2e38, 3e38), **options)
    assert not (tmp_path / "run").exists()


def test_ctrl_c_leaves_nothing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: HeadTraining) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HeadTraining, "run", interrupted)
    with pytest.raises(Interrupted, match="give the same command again"):
        sweep(home, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_progress_is_told(home: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    steps: list[int] = []
    epochs: list[dict[str, Any]] = []

    class Told(Silent):
        def stage(self, message: str) -> None:
            stages.append(message)

        def step(self, step: int, loss: float, lr: float) -> None:
            steps.append(step)
            assert loss > 0
            assert 0 < lr <= 0.1

        def epoch(self, figures: Any) -> None:
            epochs.append(dict(figures))

    sweep(home, tmp_path / "run", progress=Told())
    assert "training 12 heads together" in stages
    assert steps == list(range(1, 25))
    assert [figures["epoch"] for figures in epochs] == [1, 2, 3, 4]
    assert all(0 <= figures["best accuracy"] <= 1 for figures in epochs)


def test_a_task_without_a_loss_for_each_row_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unfreeze.tasks import _losses, classification

    whole = _losses.loss_of_rows
    monkeypatch.setattr(classification, "loss_of_rows", lambda rows: replace(whole(rows), rows=None))
    with pytest.raises(RecipeError, match="A sweep needs a loss for each row, and the task 'classification' gives"):
        sweep(home, tmp_path / "run")
