"""What the command line asks of a sweep, and what it shows of one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from unfreeze.cli import main

if TYPE_CHECKING:
    from conftest import Stub


def test_flags_are_those_of_fit_and_what_is_tried(api: Stub) -> None:
    words = "sweep a.csv --rates 1e-3,1e-2 --decays 0 --seeds 2 --epochs 3 --seed 7 --output out --overwrite"
    assert main([*words.split(), "--set", "training.optimizer=sgd"]) == 0
    assert api.tried == {"rates": "1e-3,1e-2", "decays": "0", "seeds": "2"}
    recipe = api.recipe
    assert (recipe.data.path, recipe.training.epochs, recipe.seed) == ("a.csv", 3, 7)
    assert (recipe.training.optimizer, recipe.output.folder, recipe.output.overwrite) == ("sgd", "out", True)


def test_what_is_not_said_is_left_open(api: Stub) -> None:
    assert main(["sweep", "a.csv"]) == 0
    assert api.tried == {"rates": None, "decays": None, "seeds": "4"}


def test_the_table_says_what_each_configuration_gave_and_which_head_was_kept(
    api: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "a.csv"]) == 0
    out = capsys.readouterr().out
    assert "Heads on validation, best first (2 seeds each)" in out
    first, second = (next(line for line in out.splitlines() if line.split()[:1] == [rate]) for rate in ("0.003", "3"))
    assert first.split() == ["0.003", "0.01", "0.7500", "0.1250", "4", "to", "9"]
    assert second.split() == ["3", "0.01", "diverged", "2"]
    assert "Kept: head_lr 0.003, weight_decay 0.01, seed 8, with macro f1 0.8125 after epoch 4" in out
    assert "the best of 4 heads by validation" in " ".join(out.split())
    assert "Run: runs/fake-1" in out


def test_json_is_one_document(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    api.chatter = "a library says hello"
    assert main(["sweep", "a.csv", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["run"] == "runs/fake-1"
    assert document["sweep"]["best"]["seed"] == 8
    assert document["sweep"]["table"][1]["mean"] is None
    assert document["test"]["accuracy"]["value"] == 0.9123


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--rates fast", "rates must be numbers greater than 0"),
        ("--rates 0", "rates must be numbers greater than 0"),
        ("--decays=-1", "decays must be numbers of at least 0"),
        ("--seeds none", "seeds must be a whole number of at least 1"),
        ("--rates 1,2,3 --decays 0,1 --seeds 1000", "At most 4096 heads"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_loaded(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "a.csv", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_help_and_refusals_load_no_torch() -> None:
    for words in (["sweep", "--help"], ["sweep", "a.csv", "--rates", "fast"]):
        program = f"import sys; from unfreeze.cli import main; main({words!r}); assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
