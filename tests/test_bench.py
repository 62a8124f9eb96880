"""The harness of `make bench`, without peers: jobs, rows, measuring, judging, the page."""

from __future__ import annotations

import ast
import csv
import json
import sys
import xml.dom.minidom
from pathlib import Path
from typing import Any

import pytest

from unfreeze.stack.shelf import cache_folder

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from bench import data, drawing, jobs, judge, machine, measure, page, run  # noqa: E402
from bench.sides import OURS, SIDES  # noqa: E402


def record(side: str = "unfreeze", seed: int = 0, job: str = "1", **changes: Any) -> dict[str, Any]:
    """A run as the results hold it."""
    quality = 0.80 + 0.01 * seed
    made: dict[str, Any] = {"job": job, "side": side, "seed": seed, "status": "ok", "others": 0.01, "commit": "abc"}
    made |= {
        "asked": {"rows": 1920, "epochs": 10, "batch": 32, "quick": False},
        "amount": {"unit": "tokens", "count": 9},
    }
    made |= {"rows": 1920, "epochs": 10, "batch": 32, "trainable": 29_645, "extra": 0, "rates": None, "notes": []}
    made |= {"seconds": 10.0 + seed, "total_seconds": 15.0, "train_seconds": 8.0, "parts": {"training": 8.0}}
    made |= {"peak": 2**30, "own_peak": 2**30, "validation": quality, "test": quality, "import_seconds": 4.0}
    return made | changes


def three(side: str = "unfreeze", **changes: Any) -> list[dict[str, Any]]:
    return [record(side, seed, **changes) for seed in range(judge.SEEDS)]


def shifted(side: str, points: float, **changes: Any) -> list[dict[str, Any]]:
    """Three runs whose figures differ from those of `three` by so many points."""
    moved = [record["validation"] + points / 100 for record in three()]
    return [record(side, seed, validation=value, test=value, **changes) for seed, value in enumerate(moved)]


def test_equal_work_of_equal_quality_may_be_compared() -> None:
    assert str(judge.judge(three(), three("trainer"))) == "equal"


@pytest.mark.parametrize("key", ["rows", "epochs", "batch", "trainable"])
def test_unequal_work_voids(key: str) -> None:
    verdict = judge.judge(three(), three("trainer", **{key: 7}))
    assert len(verdict.void) == 1
    assert "7 there" in str(verdict)


def test_two_pooled_deviations_and_a_point_are_allowed() -> None:
    assert judge.bound([0.80, 0.81, 0.82], [0.80, 0.81, 0.82]) == pytest.approx(0.03)
    assert not judge.judge(three(), shifted("trainer", 2.9)).void
    assert judge.judge(three(), shifted("trainer", 3.1)).void


def test_a_better_unfreeze_is_said_and_voids_nothing() -> None:
    verdict = judge.judge(three(), shifted("trainer", -3.1))
    assert not verdict.void
    assert "unfreeze better by 3.1 points on test" in str(verdict)


def test_fewer_than_three_seeds_are_not_judged() -> None:
    verdict = judge.judge(three()[:2], shifted("trainer", 9)[:2])
    assert not verdict.void
    assert "not judged" in str(verdict)


def test_a_solver_without_epochs_and_a_pooler_are_said() -> None:
    verdict = judge.judge(three(), three("sbert", epochs=None, batch=None, extra=147_840))
    assert not verdict.void
    assert "until convergence" in str(verdict)
    assert "147,840" in str(verdict)


def test_jobs_can_be_done_by_every_loader() -> None:
    assert len({job.key for job in jobs.JOBS}) == len(jobs.JOBS)
    assert {job.part for job in jobs.JOBS} == {str(number) for number in range(1, 13)}
    for job in [*jobs.JOBS, *jobs.chosen([], full=True, quick=True)]:
        assert set(job.peers) <= set(SIDES) - {OURS.key}
        assert job.data == "prediction" or job.rows % job.batch == 0, "some loaders drop what is left over"


def test_parts_and_sizes_are_chosen() -> None:
    assert [job.key for job in jobs.chosen(["4"])] == ["4", "4r", "4g"]
    assert [job.key for job in jobs.chosen(["4r"])] == ["4r"]
    assert "10-1m" not in {job.key for job in jobs.chosen([])}
    assert "10-1m" in {job.key for job in jobs.chosen([], full=True)}
    assert all(job.rows <= 256 for job in jobs.chosen([], quick=True))
    (job,) = jobs.chosen(["3"], rows=7000)
    assert job.rows == 6976
    with pytest.raises(ValueError, match="no part 99"):
        jobs.chosen(["99"])


def test_peers_learn_at_the_rates_that_unfreeze_resolves_to(home: Path) -> None:
    from unfreeze.models.families import family_of_config, family_of_timm
    from unfreeze.recipe import TrainingRecipe
    from unfreeze.resolve import HEAD_RATE

    rates = {name: family_of_timm(name).rates.fine_tuning for name in ("mobilenetv2_100", "resnet18", "resnet50")}
    rates[jobs.MINILM.name] = family_of_config("bert").extras["rates"]["minilm"].fine_tuning
    for model in (jobs.BERT_BASE, jobs.DECODER_1B):
        rates[model.name] = family_of_config(model.config["model_type"]).rates.fine_tuning
    for model in {job.model.name: job.model for job in jobs.JOBS}.values():
        assert (model.lr, model.head_lr) == (rates[model.name], HEAD_RATE)
    training = TrainingRecipe()
    assert (training.warmup, training.weight_decay) == (jobs.WARMUP, jobs.WEIGHT_DECAY)
    assert (training.schedule, training.optimizer) == ("linear", "adamw")


@pytest.fixture
def banking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of the shape of banking77."""
    folder = tmp_path / "real" / "data" / "banking77"
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("test", 20)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            found = [
                (f"{split} says {label} {row} times over", f"intent {label}")
                for label in range(8)
                for row in range(rows)
            ]
            csv.writer(file).writerows([("text", "category"), *found])
    monkeypatch.setattr(data, "ROOT", tmp_path / "real")


@pytest.mark.parametrize("key", ["1", "10-10k", "9p"])
def test_rows_are_as_many_as_asked_distinct_and_the_same_each_time(key: str, banking: None) -> None:
    (job,) = jobs.chosen([key], quick=True)
    splits = data.splits_of(job)
    assert splits == data.splits_of(job)
    every = [text for rows in splits.values() for text, _ in rows]
    assert len(set(every)) == len(every)
    assert {name: len(rows) for name, rows in splits.items()} == {name: data.wanted(job)[name] for name in splits}
    if "train" in splits:
        known = {label for _, label in splits["train"]}
        assert {label for rows in splits.values() for _, label in rows} <= known


def test_too_small_a_set_is_said(banking: None) -> None:
    (job,) = jobs.chosen(["1"])
    with pytest.raises(ValueError, match="the set has fewer"):
        data.splits_of(job)


def test_a_process_is_measured_with_its_children(tmp_path: Path) -> None:
    child = "import time; held = bytearray(64 * 2**20); time.sleep(0.6)"
    code = f"import subprocess, sys; held = bytearray(32 * 2**20); subprocess.run([sys.executable, '-c', {child!r}])"
    took = measure.measure([sys.executable, "-c", code], env={}, log=tmp_path / "log", timeout=30)
    assert took.returncode == 0
    assert took.seconds > 0.6
    assert took.others is None or 0 <= took.others <= 1.1
    assert took.peak >= took.own_peak > 32 * 2**20
    if Path("/proc/self/smaps_rollup").exists():
        assert took.peak > 96 * 2**20


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    took = measure.measure(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={}, log=tmp_path / "log", timeout=0.3
    )
    assert took.timed_out
    assert took.returncode < 0
    assert took.seconds < 30


def test_each_run_computes_its_own_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What replay has written where the runs' cache is."""
    monkeypatch.setattr(run, "CACHE", tmp_path)
    monkeypatch.setenv("UNFREEZE_CACHE", run.environment()["UNFREEZE_CACHE"])
    (cache_folder() / "a key").mkdir(parents=True)
    (cache_folder() / "a key" / "features").write_bytes(b"kept")
    (tmp_path / "machine.json").write_text("{}")
    run.forget_features()
    assert [path.name for path in cache_folder().iterdir()] == ["machine.json"]


def test_sides_take_turns() -> None:
    (job,) = jobs.chosen(["2"])
    wish = run.Wish([job], 2, False, None, [], False)
    sides = [OURS.key, *job.peers]
    assert list(run.turns(job, wish)) == [(seed, side) for seed in (0, 1) for side in sides]
    (rare,) = jobs.chosen(["10-100k"])
    assert {seed for seed, _ in run.turns(rare, wish)} == {0}


def test_a_job_that_lacks_something_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    import unfreeze

    (search,) = jobs.chosen(["8"])
    monkeypatch.setattr(unfreeze, "__all__", ["fit"])
    assert run.lacking(search, {}) == "unfreeze.sweep does not exist yet"
    monkeypatch.setattr(unfreeze, "__all__", ["fit", "sweep"])
    assert run.lacking(search, {}) is None
    assert run.lacking(jobs.chosen(["1"])[0], {}) is None
    for job in jobs.chosen(["12", "4g"]):
        assert run.lacking(job, {"gpu": None}) == "it needs a GPU"
        assert run.lacking(job, {"gpu": "one"}) is None


def test_what_is_measured_is_known_in_its_size_only() -> None:
    (job,) = jobs.chosen(["1"])
    found = {"records": [record()]}
    assert run.known(found, job, "unfreeze", 0)
    assert not run.known(found, job, "unfreeze", 1)
    assert not run.known(found, jobs.sized(job, rows=320), "unfreeze", 0)


@pytest.mark.parametrize("side", SIDES.values(), ids=lambda side: side.key)
def test_every_side_has_its_file(side: Any) -> None:
    tree = ast.parse((BENCHMARKS / "bench" / "sides" / f"{side.module}.py").read_text())
    assert "run" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


MACHINE = {
    "name": "some-cpu-2-cores",
    "cpu": "Some CPU",
    "cores": 2,
    "threads": 2,
    "memory": 2**34,
    "flags": ["avx2"],
    "gpu": None,
    "system": "Linux",
    "python": "3.11",
    "versions": {"torch": "2.13"},
    "rates": {"cpu": {"float32": 1e11, "bf16": 2e11}},
}


def results(records: list[dict[str, Any]]) -> dict[str, Any]:
    floors = {"1": {"flops": 4e11, "frozen": 3e11}}
    return {"machine": MACHINE, "records": records, "floors": floors, "skipped": {"8": "no sweep"}, "written": "today"}


def written(tmp_path: Path, records: list[dict[str, Any]]) -> str:
    (tmp_path / "some.json").write_text(json.dumps(results(records)))
    page.write([tmp_path / "some.json"], tmp_path / "benchmarks.md")
    return (tmp_path / "benchmarks.md").read_text()


def test_the_page_shows_times_verdicts_floors_and_what_was_left_out(tmp_path: Path) -> None:
    slow = [record | {"seconds": 22.0, "train_seconds": 20.0} for record in three("trainer")]
    broken = record("setfit", status="unavailable", error="ImportError: no | such `name`")
    text = written(tmp_path, [*three(), *slow, *three("plain", rows=64), broken])
    rows = {line.split(" | ")[0].strip("| *"): line for line in text.splitlines() if line.startswith("| ")}
    assert "11.0 (10.0–12.0)" in rows["unfreeze"]
    assert "**2.00** (2.50)" in rows["Trainer, defaults"]
    assert "VOID" in rows["plain PyTorch loop"]
    assert "**" not in rows["plain PyTorch loop"].replace("**VOID**", ""), "no ratio is shown where it is void"
    assert "| 400 | 75% | 2.00 | 8.0 | 4.0 | 11.0 |" in text
    assert "SetFit, head only, job 1: cannot be used here: `ImportError: no / such 'name'`" in text
    assert "8. search over 32 heads: not run: no sweep" in text
    assert "Other work took" not in text


def test_the_page_says_when_figures_count_for_little(tmp_path: Path) -> None:
    quick = {"rows": 64, "epochs": 2, "batch": 32, "quick": True}
    text = written(tmp_path, [record(asked=quick, others=0.4), record("trainer", asked=quick, others=0.4)])
    assert "Quick mode" in text
    assert "(up to 40%) during 2 of 2 runs" in text


def test_growth_is_shown_by_row(tmp_path: Path) -> None:
    def grown(job: str, rows: int, seconds: float, peak: int) -> dict[str, Any]:
        asked = {"rows": rows, "epochs": 3, "batch": 32, "quick": False}
        return record(job=job, asked=asked, rows=rows, seconds=seconds, peak=peak)

    text = written(tmp_path, [grown("10-1k", 1000, 5.0, 2**29), grown("10-10k", 10_000, 14.0, 2**29 + 9000 * 1024)])
    assert "| unfreeze | 10,000 | 14.0 | 1.40 | 1.000 | 521 | 1.00 | 80.0 |" in text
    for plot in ("time", "memory"):
        assert (tmp_path / "benchmarks" / f"some-cpu-2-cores-{plot}.svg").exists()


def test_plots_are_well_formed() -> None:
    bar = drawing.Bar("a <b> & c", 2.0, 1.0, 3.0, "2.0 s")
    for svg in (
        drawing.bars("Title", {"one": [bar, drawing.Bar("void", 1.0, 1.0, 1.0, "1 s", void=True)], "none": []}),
        drawing.lines("Title", "rows", "seconds", {"one": [(1000, 0.5), (10_000, 5)], "point": [(100, 1)]}),
        drawing.lines("Title", "rows", "seconds", {}),
    ):
        assert xml.dom.minidom.parseString(svg).documentElement.tagName == "svg"


def test_a_machine_gets_a_plain_name_and_says_whether_bf16_pays() -> None:
    made = {"cpu": "AMD EPYC 7B13 64-Core Processor (family 25, model 1)", "cores": 2, "gpu": None}
    assert machine.machine_name(made) == "amd-epyc-7b13-64-core-2-cores"
    assert machine.gains_from_bf16(MACHINE)
    assert machine.best_rate(MACHINE) == 2e11
