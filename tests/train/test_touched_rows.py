"""Only the rows that occur are trained: the same run as by training whole tables, interrupted or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small import BASE, KillAt, Killed, essence, fit_text, resume, weights
from test_memory import half_done, narrow
from test_replay import batch_of
from tiny import families, tiny_pretrained
from torch import Tensor

import unfreeze
from unfreeze import api
from unfreeze.api import make_job, recipe_of
from unfreeze.errors import CheckpointError
from unfreeze.models.kernels import fast_kernels
from unfreeze.planning import make_plan
from unfreeze.progress import Silent
from unfreeze.run import Run
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.gradient_checkpointing import recompute
from unfreeze.stack.groups import build_stack
from unfreeze.stack.working import make_working
from unfreeze.train import touched_rows as touched
from unfreeze.train.checkpoint import load_checkpoint
from unfreeze.train.forecast import forecast
from unfreeze.train.hooks import Hook
from unfreeze.train.loop import Training
from unfreeze.train.touched_rows import TouchedRows, find_tables

WORDS = "backbone.embeddings.word_embeddings.weight"

made: list[TouchedRows] = []


@pytest.fixture(autouse=True)
def _also_small_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tables of 96 rows of which most occur; what is made is noted."""
    monkeypatch.setattr(touched, "LEAST", 96)
    monkeypatch.setattr(touched, "WORTH", 0.99)
    init = TouchedRows.__init__

    def noting(self: TouchedRows, *arguments: Any) -> None:
        init(self, *arguments)
        made.append(self)

    monkeypatch.setattr(TouchedRows, "__init__", noting)
    yield
    made.clear()


def two(home: Path, folder: Path, **options: Any) -> tuple[Run, Run]:
    """A run by whole tables, and one by the rows that occur."""
    runs = []
    for apart in (False, True):
        made.clear()
        runs.append(fit_text(home, folder / f"{apart}", touched_rows=apart, **options))
        assert [[table.name for table in each.tables] for each in made] == [[WORDS] if apart else []]
    return runs[0], runs[1]


def check_alike(plain: Run, apart: Run, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for one, other in zip(plain.result["history"], apart.result["history"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=rtol)
        assert other["validation"] == pytest.approx(one["validation"], rel=1e-4)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(apart)[name], tensor, rtol=rtol, atol=atol)
    told = [
        {name: figure["value"] for name, figure in run.result["test"].items() if figure["value"] is not None}
        for run in (plain, apart)
    ]
    assert told[1] == pytest.approx(told[0], rel=1e-4)


FULL = {"method": "full", "epochs": 2, "model__dropout": 0.2, "report": False}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"lr": 3e-3, "weight_decay": 0.3},
    "sgd": {"lr": 0.1, "head_lr": 0.1, "weight_decay": 5.0},
    "lion": {"lr": 1e-3, "weight_decay": 0.1},
    "adam": {"weight_decay": 0.0},
    "rmsprop": {"weight_decay": 0.0, "lr": 1e-3},
}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_the_same_run(home: Path, tmp_path: Path, optimizer: str, clip: float | None) -> None:
    options = {**FULL, "optimizer": optimizer, "grad_clip": clip, **OPTIMIZERS[optimizer]}
    plain, apart = two(home, tmp_path, **options)
    check_alike(plain, apart)


def test_rows_that_never_occur_decay_and_no_more(home: Path, tmp_path: Path) -> None:
    """With SGD decay has momentum: rate and decay alone would not do."""
    plain, apart = two(home, tmp_path, **FULL, optimizer="sgd", lr=0.1, weight_decay=5.0)
    start = load_file(home / "bert" / "model.safetensors")["embeddings.word_embeddings.weight"]
    occurring = set(made[-1].tables[0].rows.tolist())
    others = [row for row in range(len(start)) if row not in occurring]
    assert others
    ends = [weights(run)[WORDS][others] for run in (plain, apart)]
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-5, atol=0.0)
    shrunk = float(ends[1][0, 0] / start[others[0], 0])
    assert 0.5 < shrunk < 0.99
    torch.testing.assert_close(ends[1], shrunk * start[others], rtol=1e-5, atol=0.0)


def test_eight_bits_differ_by_their_rounding_only(home: Path, tmp_path: Path) -> None:
    """Blocks of codes hold other neighbours then, so that the two are as near as each is to 32 bits."""
    plain, apart = two(home, tmp_path, **FULL, optimizer="adamw-8bit")
    exact = fit_text(home, tmp_path / "exact", **FULL, touched_rows=False)
    ends = [weights(run)[WORDS] for run in (plain, apart, exact)]
    assert float((ends[0] - ends[1]).norm()) <= 2 * float((ends[0] - ends[2]).norm())
    check_alike(plain, apart, rtol=0.05, atol=0.01)


VARIANTS: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": "bf16"},
    "micro-batches": {"micro_batch": 3},
    "activations computed twice": {"gradient_checkpointing": True},
    "they learn last": {"method": "gradual", "epochs": 5},
    "they learn, and are frozen again": {"method": "chain-thaw", "epochs": 5},
    "validation between parts of epochs": {
        "method": None,
        "epochs": None,
        "phases": [{"learn": "all", "epochs": 1.4}, {"learn": "head", "epochs": 1}, {"learn": "all", "epochs": 0.7}],
    },
    "nothing is validated": {"validation_share": 0.0, "split": None, "test_share": 0.2},
    "early stopping": {"early_stopping": 1, "epochs": 6},
    "groups of one table": {"layer_decay": 0.8},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_it_is_the_same_run_with(home: Path, tmp_path: Path, name: str) -> None:
    loose = name == "bfloat16"
    plain, apart = two(home, tmp_path, **{**FULL, "weight_decay": 0.3, **VARIANTS[name]})
    check_alike(plain, apart, rtol=1e-2 if loose else 1e-5, atol=1e-3 if loose else 1e-6)


@pytest.mark.parametrize(
    ("optimizer", "update"), [("adamw", 4), ("adamw", 6), ("adamw", 11), ("sgd", 9), ("lion", 9), ("adamw-8bit", 9)]
)
def test_interrupted_or_not_it_is_the_same_to_the_bit(home: Path, tmp_path: Path, update: int, optimizer: str) -> None:
    """Also when a checkpoint was written at another moment: in the middle of an epoch (of 6 updates), or at its end."""
    options = {**FULL, "optimizer": optimizer, "weight_decay": 0.3}
    whole = fit_text(home, tmp_path / "whole", **options, checkpoint_every=1e6)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(update), **options, checkpoint_steps=2)
    resume(tmp_path / "cut")
    assert all(each.tables for each in made)
    assert essence(tmp_path / "cut") == essence(whole.path)


def test_interrupted_while_they_are_frozen(home: Path, tmp_path: Path) -> None:
    phases = [{"learn": "all", "epochs": 1.5}, {"learn": "last:2", "epochs": 1}, {"learn": "all", "epochs": 1}]
    options = {**FULL, "method": None, "epochs": None, "phases": phases, "checkpoint_steps": 2, "weight_decay": 0.3}
    whole = fit_text(home, tmp_path / "whole", **options)
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(5), **options)
    for update in (8, 3):
        with pytest.raises(Killed):
            resume(tmp_path / "cut", progress=KillAt(update))
    resume(tmp_path / "cut")
    assert essence(tmp_path / "cut") == essence(whole.path)


def test_a_checkpoint_holds_the_whole_table_and_the_state_of_the_rows_that_occur(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(9), **FULL, checkpoint_steps=8)
    (table,) = made[0].tables
    found = load_checkpoint(tmp_path / "cut" / "checkpoints")
    assert found is not None
    tensors = found[0].tensors
    assert len(tensors[f"model.{WORDS}"]) == len(table.whole)
    states = [value for name, value in tensors.items() if name.endswith(".exp_avg") and value.shape[1:] == (16,)]
    assert len(table.rows) in [len(state) for state in states]
    assert len(table.whole) not in [len(state) for state in states]


def test_a_run_that_was_begun_otherwise_says_so(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed):
        fit_text(home, tmp_path / "cut", progress=KillAt(9), **FULL, checkpoint_steps=2)
    monkeypatch.setattr(touched, "LEAST", 1_000_000)
    with pytest.raises(CheckpointError, match=r"begun with training\.touched_rows: true"):
        resume(tmp_path / "cut")


def test_memory_runs_out(home: Path, tmp_path: Path) -> None:
    with narrow(5) as machine:
        disturbed = fit_text(home, tmp_path / "disturbed", **FULL)
    assert machine.refused == 1
    assert all(each.tables for each in made)
    assert essence(disturbed.path) == essence(fit_text(home, tmp_path / "small", **FULL, micro_batch=4).path)


def test_memory_runs_out_in_the_second_half_of_a_batch(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first half left at the rows that occur is dropped."""
    monkeypatch.setattr(Training, "_backward", half_done(Training._backward))
    small = fit_text(home, tmp_path / "small", **FULL, micro_batch=4)
    with narrow(5) as machine:
        disturbed = fit_text(home, tmp_path / "disturbed", **FULL)
    assert machine.refused == 1
    assert all(each.tables for each in made)
    assert essence(disturbed.path) == essence(small.path)


class Looks(Hook):
    """Reads the master after each update."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def after_step(self, loop: Any) -> None:
        self.seen.append(loop.stack.module.get_parameter(WORDS).detach().clone())


REFUSED: dict[str, dict[str, Any]] = {
    "an average of the weights": {"ema": 0.9},
    "a pull towards the start": {"method__l2_sp": 0.1},
    "decay that is part of Adam's gradient": {"optimizer": "adam"},
    "an optimizer that looks at rows together": {"optimizer": "adafactor", "lr": 1e-3},
    "new words": {"augment": ["word-swap"]},
    "switched off": {"touched_rows": False},
    "they never learn": {"method": "last:2"},
}


@pytest.mark.parametrize("name", REFUSED)
def test_whole_tables_are_trained_with(home: Path, tmp_path: Path, name: str) -> None:
    fit_text(home, tmp_path / "run", **{**FULL, "epochs": 1, **REFUSED[name]})
    assert [each.tables for each in made] == [[]]


def test_a_hook_from_python_sees_every_update(home: Path, tmp_path: Path) -> None:
    options = {**BASE, "target": "label", "split": "split", "method": "full", "epochs": 1, "output": tmp_path / "run"}
    options["report"] = False
    recipe, _ = recipe_of(home / "table.csv", str(home / "bert"), None, options)
    looks = Looks()
    api.fit_recipe(recipe, hooks=lambda plan: [looks])
    assert len(looks.seen) == 6
    assert not any(torch.equal(one, other) for one, other in zip(looks.seen, looks.seen[1:], strict=False))


def test_few_rows_have_to_be_worth_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(touched, "WORTH", 0.1)
    fit_text(home, tmp_path / "run", **FULL)
    assert [each.tables for each in made] == [[]]


def test_the_forecast_counts_what_occurs(home: Path) -> None:
    sizes = []
    for apart in (False, True):
        options = {**BASE, "target": "label", "split": "split", "method": "full", "epochs": 1, "touched_rows": apart}
        recipe, _ = recipe_of(home / "table.csv", str(home / "bert"), None, options)
        plan = make_plan(recipe)
        job = make_job(plan, Path(), Silent())
        moment = next(moment for moment in forecast(job).moments if moment.learns)
        sizes.append(moment.parts)
        assert job.working.modules[2:] == ()
    spared = 16 * (96 - len(made[-1].tables[0].rows))
    assert spared > 0
    assert sizes[0]["optimizer"] - sizes[1]["optimizer"] == 2 * 4 * spared
    assert sizes[0]["gradients"] - sizes[1]["gradients"] == 4 * spared


def test_the_plan_says_how_many_rows_are_trained(home: Path) -> None:
    options = {**BASE, "target": "label", "split": "split", "method": "full", "epochs": 1}
    plan = unfreeze.plan(home / "table.csv", str(home / "bert"), **options)
    table = next(table for each in made for table in each.tables)
    assert plan.reasons["training.touched_rows"].startswith(f"{len(table.rows)} of 96 rows of {WORDS} occur")


# Every family of text models, without a run.

UNSUITED = {"t5": "its table has two names"}


def gradients(
    name: str, apart: bool, precision: str = "float32", checkpointed: bool = False, masked: bool = True
) -> tuple[dict[str, Tensor], list[str]]:
    """Loss and gradients of one pass in training with dropout, those of the rows that occur put into whole tables."""
    pretrained = tiny_pretrained(name, dropout=0.25)
    stack = build_stack(pretrained.module, pretrained.family.patterns)
    working = make_working(stack, precision, fast_kernels(torch.device("cpu")))
    if checkpointed:
        recompute(working.stack)
    batch = working.laid_out(batch_of(pretrained, 0, 1, 2, 3))
    if not masked:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    working.module.eval()
    tables = find_tables(working, stack.names, batch, lambda key: batch[key].unique()) if apart else []
    with TouchedRows(working, tables):
        working.set_learning(stack.names)
        set_modes(working.stack, stack.names)
        torch.manual_seed(1)
        loss = working.module(**batch).float().square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        working.collect(stack.names)
        for table in tables:
            assert table.whole.grad is None
            assert table.part.grad is not None
            table.whole.grad = torch.zeros_like(table.whole).index_copy_(0, table.rows, table.part.grad)
        found = {name: p.grad for name, p in stack.module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **found}, [table.name for table in tables]


@pytest.mark.parametrize(("precision", "checkpointed"), [("float32", False), ("bf16", True)])
@pytest.mark.parametrize("name", families("text"))
def test_every_familys_gradients_are_the_same_to_the_bit(name: str, precision: str, checkpointed: bool) -> None:
    plain, _ = gradients(name, False, precision, checkpointed)
    apart, tables = gradients(name, True, precision, checkpointed)
    assert len(tables) == (0 if name in UNSUITED else 1)
    assert plain.keys() == apart.keys()
    assert [key for key, tensor in plain.items() if not torch.equal(tensor, apart[key])] == []


def test_padding_learns_nothing_even_where_it_is_seen() -> None:
    plain, apart = (gradients("bert", apart, masked=False)[0] for apart in (False, True))
    assert not plain[WORDS][0].any()
    assert plain[WORDS].any()
    assert torch.equal(plain[WORDS], apart[WORDS])


def test_what_is_looked_up_in_elsewhere_is_left_alone() -> None:
    """A model that also reads its table directly, as one with an output layer of the same weights does."""

    def tables_of(elsewhere: bool) -> list[touched.Table]:
        pretrained = tiny_pretrained("bert")
        working = make_working(build_stack(pretrained.module, pretrained.family.patterns), "float32")
        words = working.module.get_submodule("backbone.embeddings.word_embeddings")
        if elsewhere:
            working.module.register_forward_hook(lambda *given: given[2] + 0.0 * words.weight.sum())
        working.module.eval()
        batch = batch_of(pretrained, 0, 1)
        return find_tables(working, working.master.names, batch, lambda key: batch[key].unique())

    assert len(tables_of(elsewhere=False)) == 1
    assert tables_of(elsewhere=True) == []
