"""Soups: a soup of one is that run, means are means, the greedy one never falls, and what has no mean is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small import fit_images, fit_text, table, weights

import unfreeze
from unfreeze.errors import RunError
from unfreeze.run import Run
from unfreeze.soups import average


@pytest.fixture(scope="module")
def texts(home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("soup")
    options = {"method": "full", "epochs": 3, "lr": 1e-2}
    return [fit_text(home, folder / f"seed-{seed}", seed=seed, **options) for seed in range(3)]


@pytest.fixture(scope="module")
def pictures(home: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("soup")
    options = {"method": "full", "epochs": 2, "data__split_seed": 0, "augment": []}
    return [fit_images(home, folder / f"seed-{seed}", seed=seed, **options) for seed in range(2)]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("kind", ["texts", "pictures"])
def test_a_soup_of_one_run_is_that_run(kind: str, greedy: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = request.getfixturevalue(kind)[0]
    soup = unfreeze.soup([run.path], tmp_path / "soup", greedy=greedy)
    one, other = weights(run), weights(soup)
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    for split in ("validation", "test"):
        assert soup.result[split] == run.result[split]
    assert soup.result["learned_parameters"] == run.result["learned_parameters"]


def test_the_uniform_soup_is_the_mean(texts: list[Run], tmp_path: Path) -> None:
    soup = unfreeze.soup([run.path for run in texts], tmp_path / "soup")
    each, found = [weights(run) for run in texts], weights(soup)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, torch.stack([one[name] for one in each]).mean(dim=0))
    assert soup.result["gate"]["passed"]
    assert soup.soup["kind"] == "uniform"
    assert all(step["taken"] for step in soup.soup["runs"])
    assert soup.result["validation"][soup.result["metric"]]["value"] == pytest.approx(soup.soup["value"])
    assert len(soup.predict(["a good movie", "rain again"])) == 2
    assert sum("the mean of the weights of 3 runs" in note for note in soup.result["notes"]) == 1


def test_the_greedy_soup_takes_from_the_best_on_and_never_falls(texts: list[Run], tmp_path: Path) -> None:
    soup = unfreeze.soup([run.path for run in texts], tmp_path / "soup", greedy=True)
    steps = soup.soup["runs"]
    values = [step["value"] for step in steps]
    assert values == sorted(values, reverse=True)
    assert steps[0]["taken"]
    best = values[0]
    for step in steps[1:]:
        assert step["taken"] == (step["with_it"] >= best)
        best = step["with_it"] if step["taken"] else best
    assert soup.soup["value"] == pytest.approx(best)
    kept = [weights(Path(step["run"])) for step in steps if step["taken"]]
    for name, tensor in weights(soup).items():
        torch.testing.assert_close(tensor, torch.stack([one[name] for one in kept]).mean(dim=0))


def test_statistics_of_a_soup_are_estimated_anew(pictures: list[Run], tmp_path: Path) -> None:
    soup = unfreeze.soup([run.path for run in pictures], tmp_path / "soup")
    each, found = [weights(run) for run in pictures], weights(soup)
    for name, tensor in found.items():
        mean = torch.stack([one[name].float() for one in each]).mean(dim=0)
        assert torch.allclose(tensor.float(), mean, atol=1e-6) != (".running_" in name), name


def test_what_none_of_the_runs_learned_is_proven_to_be_as_it_was(home: Path, tmp_path: Path) -> None:
    runs = [fit_text(home, tmp_path / str(seed), method="last:2", epochs=1, seed=seed) for seed in (0, 1)]
    soup = unfreeze.soup([run.path for run in runs], tmp_path / "soup")
    (entry,) = soup.result["ledger"]
    assert entry["phase"] == "soup"
    assert entry["frozen"] == runs[0].result["ledger"][-1]["frozen"]
    assert soup.result["phases"][0]["learn"] == runs[0].result["phases"][0]["learn"]
    # A head and two groups may be averaged too: together they learned in two groups.
    head = fit_text(home, tmp_path / "head", method="head", epochs=1)
    mixed = unfreeze.soup([head.path, runs[0].path], tmp_path / "mixed")
    assert mixed.result["learned_parameters"] == runs[0].result["learned_parameters"]


def test_runs_without_a_common_origin_are_refused(
    texts: list[Run], pictures: list[Run], home: Path, tmp_path: Path
) -> None:
    first = texts[0].path

    def refused(*paths: Path, says: str) -> None:
        with pytest.raises(RunError, match=says):
            unfreeze.soup(paths, tmp_path / "never")
        assert not (tmp_path / "never").exists()

    refused(says="at least one run")
    refused(first, first, says="stands there twice")
    refused(first, pictures[0].path, says="tasks or labels differ")
    other = fit_text(home, tmp_path / "other", data=table(tmp_path / "other.csv", seed=5), method="head", epochs=1)
    refused(first, other.path, says=r"same rows.*split_seed")
    shorter = fit_text(home, tmp_path / "short", method="head", epochs=1, model__max_length=20)
    refused(first, shorter.path, says=r"read differ \(max_length 64 and 20\)")
    scratch = fit_text(home, tmp_path / "scratch", method="scratch", epochs=1)
    refused(first, scratch.path, says="same pre-trained weights")
    refused(first, tmp_path / "nothing", says="There is no run")


def test_factors_of_updates_have_no_mean_that_means_anything(home: Path, tmp_path: Path) -> None:
    runs = [fit_text(home, tmp_path / f"seed-{seed}", seed=seed, method="lora:2", epochs=1) for seed in range(2)]
    with pytest.raises(RunError, match=r"updates of low rank.*load_together\(\[…\]\)\.average\(\)"):
        unfreeze.soup([run.path for run in runs], tmp_path / "soup")


def test_a_run_that_is_damaged_where_nothing_learned_is_refused(home: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    runs = [fit_text(home, tmp_path / str(seed), method="head", epochs=1, seed=seed) for seed in (0, 1)]
    file = runs[1].path / "model" / "model.safetensors"
    state = load_file(file)
    name = next(name for name in state if "embeddings" in name)
    state[name] = state[name] + 1
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(RunError, match="damaged"):
        unfreeze.soup([run.path for run in runs], tmp_path / "soup")


def test_data_that_have_changed_are_noticed(home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "table.csv", tmp_path / "table.csv")
    run = fit_text(home, tmp_path / "run", data=tmp_path / "table.csv", method="head", epochs=1)
    with (tmp_path / "table.csv").open("a", encoding="utf-8") as file:
        file.write("a new one about rain,weather,train\n")
    with pytest.raises(RunError, match="have changed"):
        unfreeze.soup([run.path], tmp_path / "soup")


def test_a_soup_is_not_resumed_as_one_of_its_runs(texts: list[Run], tmp_path: Path) -> None:
    soup = unfreeze.soup([texts[0].path], tmp_path / "soup")
    (soup.path / "result.json").unlink()
    (soup.path / "status.json").write_text(json.dumps({"status": "interrupted"}))
    with pytest.raises(RunError, match="unfreeze soup"):
        unfreeze.resume(soup.path)


def test_counts_are_not_averaged_and_one_stays_as_it_is() -> None:
    draw = torch.Generator().manual_seed(0)
    several = [{"w": torch.randn(50, generator=draw), "n": torch.tensor(n)} for n in (3, 8)]
    mean: Callable[..., torch.Tensor] = torch.mean
    found = average(several)
    assert int(found["n"]) == 3
    torch.testing.assert_close(found["w"], mean(torch.stack([each["w"] for each in several]), dim=0))
    assert torch.equal(average(several[:1])["w"], several[0]["w"])
