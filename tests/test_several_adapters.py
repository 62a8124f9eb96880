"""Several adapters in one process: one base in memory, each predicts as its run does, and they can be averaged."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import fit_text, read_table, write_table
from torch import Tensor

import unfreeze
from unfreeze.errors import ModelError, RunError
from unfreeze.models import store
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import merge
from unfreeze.run import Run

TEXTS = ["the rain is good", "my old card", "an actor was never poor", "sun"]


@pytest.fixture(scope="module")
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two adapters for the same three labels, one for two, one of another width, one that reads longer texts."""
    folder = tmp_path_factory.mktemp("runs")
    rows = read_table(home / "table.csv")
    write_table(folder / "two.csv", [(text, "no" if label == "film" else "yes", split) for text, label, split in rows])
    wanted: dict[str, dict[str, Any]] = {
        "first": {"seed": 0, "evaluation__report": True},
        "second": {"seed": 1, "lr": 1e-2},
        "two": {"data": folder / "two.csv"},
        "wide": {"method": "adapter:2"},
        "long": {"model__max_length": 100},
    }
    return {name: fit_text(home, folder / name, **{"method": "adapter:4", **more}) for name, more in wanted.items()}


def chosen(runs: dict[str, Run], *names: str) -> dict[str, Path]:
    return {name: runs[name].path for name in names}


def own(run: Run) -> dict[str, Tensor]:
    return load_file(run.path / "model" / "model.safetensors")


def places(run: Run) -> dict[str, int]:
    return {name: tensor.data_ptr() for name, tensor in run.pretrained.module.state_dict().items()}


def test_each_predicts_as_its_run_does(runs: dict[str, Run]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "second", "two", "long"))
    assert together.adapters == ("first", "second", "two", "long")
    for precision in ("float32", "bf16"):
        for name in (*together.adapters, *reversed(together.adapters)):
            expected = unfreeze.load(runs[name].path).predict(TEXTS, precision=precision)
            assert together.predict(TEXTS, adapter=name, precision=precision) == expected
    assert len({str(together.predict(TEXTS, adapter=name)) for name in together.adapters}) >= 3


def test_the_base_is_in_memory_once(runs: dict[str, Run]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "second", "two"))
    first, second, two = (together.runs[name] for name in ("first", "second", "two"))
    base = set(places(first)) - set(own(runs["first"]))
    assert len(base) > 40
    assert set(places(second)) - set(own(runs["second"])) == base
    for other in (second, two):
        assert {name for name in base if places(first)[name] == places(other)[name]} == base
        assert not {places(first)[name] for name in own(runs["first"])} & set(places(other).values())


def test_a_base_that_differs_in_its_table_of_positions_shares_the_rest(runs: dict[str, Run], home: Path) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "long"))
    first, long = (places(together.runs[name]) for name in ("first", "long"))
    apart = {name for name in set(first) - set(own(runs["first"])) if first[name] != long[name]}
    assert apart <= {"backbone.embeddings.position_embeddings.weight"}


def test_in_bfloat16_too(runs: dict[str, Run]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "second", "two"))
    forms = []
    for name in together.adapters:
        together.predict(TEXTS, adapter=name, precision="bf16")
        forms.append(dict(together.runs[name]._fast("bf16").module.named_parameters()))
    base = set(forms[0]) - set(own(runs["first"]))
    assert {forms[0][name].dtype for name in base} == {torch.bfloat16}
    for other in forms[1:]:
        assert all(other[name].data_ptr() == forms[0][name].data_ptr() for name in base)
        assert not any(other[name].data_ptr() == forms[0][name].data_ptr() for name in own(runs["first"]))


KINDS: dict[str, dict[str, Any]] = {
    "adapter": {"method": "adapter:4"},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix:3", "lr": 3e-2},
    "lora": {"method": "lora:2", "method__options": {"alpha": 3.0}},
    "pissa": {"method": "lora:2", "method__options": {"alpha": 3.0, "rslora": True, "start": "pissa"}},
    "qlora": {"method": "qlora:2"},
}
LOW_RANK = ("lora", "pissa", "qlora")


@pytest.fixture(scope="module")
def pair(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Run]]:
    """Two runs that differ by what they learned, for each kind made once."""
    folder = tmp_path_factory.mktemp("pairs")

    @cache
    def made(kind: str) -> dict[str, Run]:
        wanted = {"first": {"seed": 0, "evaluation__report": kind == "adapter"}, "second": {"seed": 1}}
        fit = partial(fit_text, home, epochs=1)
        return {name: fit(folder / kind / name, **{"lr": 1e-2, **KINDS[kind]}, **more) for name, more in wanted.items()}

    return made


def outputs_of(pretrained: Pretrained) -> Tensor:
    batch = pretrained.preprocess.collate([pretrained.preprocess.encode(text) for text in TEXTS])
    with torch.no_grad():
        outputs: Tensor = pretrained.module.eval()(**batch)
    return outputs


def merged(run: Run) -> Pretrained:
    found = store.load(run.path / "model")
    merge(found)
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_an_average_is_the_average(pair: Callable[[str], dict[str, Run]], kind: str) -> None:
    runs = pair(kind)
    together = unfreeze.load_together(chosen(runs, "first", "second"))
    before = {name: tensor.clone() for name, tensor in together.runs["first"].pretrained.module.state_dict().items()}
    average = together.average(weights=[3, 1])
    assert average.shares == {"first": 0.75, "second": 0.25}
    one, other, found = own(runs["first"]), own(runs["second"]), average.pretrained.module.state_dict()
    as_they_are = [name for name in one if ".lora_" not in name]
    assert len(as_they_are) == len(one) or kind in LOW_RANK
    for name in as_they_are:
        torch.testing.assert_close(found[name], 0.75 * one[name] + 0.25 * other[name])
    assert any(not torch.equal(one[name], found[name]) for name in as_they_are)
    first = places(together.runs["first"])
    for name in set(found) - set(one):
        assert found[name].data_ptr() == first[name]
    after = together.runs["first"].pretrained.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert [row["prediction"] for row in average.predict(TEXTS)]
    # What was measured of one of them says nothing about the average.
    assert (together.runs["first"].calibration is not None) is (kind == "adapter")
    assert average._run.calibration is average._run.reference is None
    assert "accuracy" in average.evaluate(runs["first"].recipe.data.path)["metrics"]


@pytest.mark.parametrize("kind", LOW_RANK)
def test_the_average_of_updates_is_the_mean_of_what_they_add(pair: Callable[[str], dict[str, Run]], kind: str) -> None:
    """Shares sum to 1: the mean of merged weights is the base's and the mean of all changes to it."""
    runs = pair(kind)
    average = unfreeze.load_together(chosen(runs, "first", "second")).average(weights=[3, 1])
    one, other = (merged(runs[name]) for name in ("first", "second"))
    states = one.module.state_dict(), other.module.state_dict()
    for name, tensor in states[0].items():
        tensor.copy_(0.75 * tensor + 0.25 * states[1][name])
    found, expected = outputs_of(average.pretrained), outputs_of(one)
    assert relative(found, expected) < 1e-5
    assert relative(outputs_of(other), expected) > 1e-3
    rank = {"pissa": 8}.get(kind, 4)
    options = average.pretrained.spec["tuning"]["options"]
    factor = options["alpha"] / (rank**0.5 if options["rslora"] else rank)
    assert (options["rank"], options["start"]) == (rank, "kaiming")
    assert factor == pytest.approx({"lora": 1.5, "pissa": 3 / 2**0.5, "qlora": 1.0}[kind])
    # It is a model like any other.
    merge(average.pretrained)
    assert relative(outputs_of(average.pretrained), expected) < 1e-5


def test_lengths_that_dora_learned_have_no_mean(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "one", method="lora:2", method__options={"dora": True}, epochs=1)
    together = unfreeze.load_together({"one": run, "same": run})
    with pytest.raises(ModelError, match=r"The updates of 'one', 'same' cannot be averaged: with dora"):
        together.average()
    assert together.average(weights=[1, 0]).predict(TEXTS) == run.predict(TEXTS)


def test_codes_of_a_quantised_base_are_in_memory_once(
    pair: Callable[[str], dict[str, Run]], home: Path, tmp_path: Path
) -> None:
    rows = read_table(home / "table.csv")
    write_table(
        tmp_path / "two.csv", [(text, "no" if label == "film" else "yes", split) for text, label, split in rows]
    )
    few = {"method": "qlora:2", "epochs": 1, "method__options": {"bits": 4}}
    runs = {**pair("qlora"), "few": fit_text(home, tmp_path / "few", **few)}
    runs["two"] = fit_text(home, tmp_path / "two", data=tmp_path / "two.csv", **few)
    together = unfreeze.load_together({name: run.path for name, run in runs.items()})
    assert [together.runs[name].pretrained.spec["tuning"]["options"]["bits"] for name in runs] == [8, 8, 4, 4]
    first, second, few_bits, two = (places(together.runs[name]) for name in runs)
    codes = [name for name in first if name.endswith((".W_q", ".scales"))]
    assert len(codes) == 2 * 3 * 6
    assert all(first[name] == second[name] for name in codes)
    assert all(few_bits[name] == two[name] for name in codes)
    assert not any(first[name] == few_bits[name] for name in codes)
    average = together.average(["first", "second"]).pretrained.module.state_dict()
    assert all(average[name].data_ptr() == first[name] for name in codes)
    # The whole weights are nobody's any more, and those that stay whole are everybody's.
    assert "backbone.embeddings.word_embeddings.weight" in together.base.tensors
    assert not [name for name in together.base.tensors if name.endswith("query.weight")]
    for name, run in runs.items():
        assert together.predict(TEXTS, adapter=name) == unfreeze.load(run.path).predict(TEXTS)


def test_an_average_of_one_is_that_one(runs: dict[str, Run]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "second"))
    for average in (together.average(["second"]), together.average(["first", "second"], weights=[0, 2])):
        assert average.predict(TEXTS) == runs["second"].predict(TEXTS)


def test_heads_of_other_labels_are_not_averaged(runs: dict[str, Run]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "two"))
    with pytest.raises(RunError, match=r"'first' and 'two' cannot be averaged.*head='first'"):
        together.average()
    average = together.average(head="two")
    found, head = average.pretrained.module.state_dict(), own(runs["two"])
    assert torch.equal(found["head.weight"], head["head.weight"])
    name = next(name for name in head if ".adapter.up." in name)
    torch.testing.assert_close(found[name], (own(runs["first"])[name] + head[name]) / 2)
    assert {row["prediction"] for row in average.predict(TEXTS)} <= {"yes", "no"}


def test_unequal_adapters_are_not_averaged(runs: dict[str, Run], home: Path, tmp_path: Path) -> None:
    biases = fit_text(home, tmp_path / "biases", method="bitfit")
    together = unfreeze.load_together({**chosen(runs, "first", "wide"), "biases": biases})
    with pytest.raises(ModelError, match=r"equal settings.*'first' and 'wide' have reduction 4 and 2"):
        together.average(["first", "wide"])
    with pytest.raises(ModelError, match=r"one method.*'first' is made by 'adapter', 'biases' by 'bitfit'"):
        together.average(["first", "biases"])
    assert together.predict(TEXTS, adapter="biases") == biases.predict(TEXTS)


@pytest.mark.parametrize("weights", [[1.0], [1, -1], [0, 0], [1, float("nan")]])
def test_weights_that_mean_nothing(runs: dict[str, Run], weights: list[float]) -> None:
    together = unfreeze.load_together(chosen(runs, "first", "second"))
    with pytest.raises(RunError, match=r"[Ww]eight"):
        together.average(weights=weights)


def test_names(runs: dict[str, Run], home: Path, tmp_path: Path) -> None:
    together = unfreeze.load_together([runs["first"], str(runs["second"].path)])
    assert together.adapters == ("first", "second")
    assert unfreeze.load_together(runs["first"].path).adapters == ("first",)  # type: ignore[arg-type]
    with pytest.raises(RunError, match=r"no adapter 'secnd' here. Did you mean 'second'"):
        together.predict(TEXTS, adapter="secnd")
    with pytest.raises(RunError, match="Two of the runs are called 'first'"):
        unfreeze.load_together([runs["first"], runs["first"].path])
    with pytest.raises(RunError, match="different adapters"):
        together.average(["first", "first"])
    with pytest.raises(RunError, match="There is no run"):
        unfreeze.load_together([tmp_path / "nothing"])
    with pytest.raises(RunError, match="at least one run"):
        unfreeze.load_together([])


def test_whole_models_and_other_bases_are_refused(runs: dict[str, Run], home: Path, tmp_path: Path) -> None:
    whole = fit_text(home, tmp_path / "whole", method="head")
    with pytest.raises(ModelError, match="no base"):
        unfreeze.load_together([whole])
    with pytest.raises(ModelError, match="no base"):
        unfreeze.load_together([runs["first"], whole])
    options = {
        "method": "adapter:4",
        "epochs": 1,
        "output": tmp_path / "other",
        "threads": 1,
        "evaluation__gate": "inline",
        "evaluation__report": False,
    }
    rows = [(text, label) for text, label, _ in read_table(home / "table.csv")]
    other = unfreeze.fit(rows, **options)  # the embedded model
    with pytest.raises(ModelError, match="learned on another base"):
        unfreeze.load_together([runs["first"], other])
