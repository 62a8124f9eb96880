"""Each command with a stand-in for the api: what it asks for and what it shows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unfreeze.cli import main
from unfreeze.progress import JsonLines, PlainLines, Silent

if TYPE_CHECKING:
    from conftest import Stub


def test_fit_turns_flags_into_a_recipe(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    words = "fit a.csv --model m --method last:2 --epochs 3 --lr 1e-4 --batch-size 4 --seed 7 --group patient"
    assert (
        main([*words.split(), "--target", "label", "--output", "out", "--tensorboard", "--set", "training.ema=0.9"])
        == 0
    )
    recipe = api.recipe
    assert (recipe.data.path, recipe.data.group, recipe.data.target) == ("a.csv", "patient", "label")
    assert (recipe.model.name, recipe.method.name, recipe.seed) == ("m", "last:2", 7)
    assert (recipe.training.epochs, recipe.training.lr, recipe.training.batch_size) == (3, 1e-4, 4)
    assert recipe.training.ema == 0.9
    assert (recipe.output.folder, recipe.output.tensorboard, recipe.output.overwrite) == ("out", True, False)
    out = capsys.readouterr().out
    assert "0.9123" in out
    assert "0.8800 to 0.9400" in out
    assert "majority class" in out
    assert "Run: runs/fake-1" in out


def test_flags_override_a_recipe_file(api: Stub) -> None:
    Path("job.yaml").write_text("data: a.csv\nseed: 3\ntraining: {epochs: 5, lr: 0.01}\n")
    assert main(["fit", "job.yaml", "--epochs", "2"]) == 0
    assert (api.recipe.training.epochs, api.recipe.training.lr, api.recipe.seed) == (2, 0.01, 3)


def test_a_column_whose_name_is_a_number_stays_a_text(api: Stub) -> None:
    assert main(["fit", "a.csv", "--text", "0", "--target", "[y1, y2]"]) == 0
    assert (api.recipe.data.text, api.recipe.data.target) == ("0", ["y1", "y2"])


def test_fit_json_is_one_document(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    api.chatter = "a library says hello"
    assert main(["fit", "a.csv", "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["run"] == "runs/fake-1"
    assert document["test"]["accuracy"]["value"] == 0.9123
    assert document["test"]["f1"]["value"] is None, "a figure that is not finite is no JSON"
    assert "hello" in captured.err


@pytest.mark.parametrize(
    "words",
    ["plan a.csv", "sweep a.csv", "inspect a.csv", "evaluate r a.csv", "predict r a.csv", "resume r", "compare r s",
     "methods", "methods last:2", "tasks", "tasks regression", "models", "demo text"],
)  # fmt: skip
def test_every_command_has_a_json_mode(api: Stub, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(), "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert main(words.split()) == 0
    assert capsys.readouterr().out.strip()


def test_plan_shows_the_stack_from_top_to_bottom(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "a.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head, block, stem = (
        next(line for line in lines if line.strip().startswith(name)) for name in ("head", "block", "stem")
    )
    assert lines.index(head) < lines.index(block) < lines.index(stem)
    assert "0.001" in head
    assert "the start" in head
    assert "frozen" in block
    assert "2e-05" in block
    assert "update 20" in block
    assert "never" in stem
    assert any("110 of 111 parameters learn" in line for line in lines)


def test_plan_json_holds_what_the_tables_say(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "a.csv", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [phase["name"] for phase in document["phases"]] == ["probe", "all"]
    assert [(layer["name"], layer["learns"]) for layer in document["layers"]] == [
        ("stem", {}),
        ("block", {"1": 2e-05}),
        ("head", {"0": 0.001, "1": 0.001}),
    ]
    assert list(document["reasons"]) == ["training.epochs"]
    assert document["notes"] == ["a note"]
    assert (document["recipe"]["data"]["path"], document["manifest"]["task"]) == ("a.csv", "classification")


@pytest.mark.parametrize(
    ("flags", "kind"), [("--quiet", Silent), ("-q --json", Silent), ("--json", JsonLines), ("", PlainLines)]
)
def test_plan_tells_its_progress_unless_it_is_quiet(api: Stub, flags: str, kind: type) -> None:
    assert main(["plan", "a.csv", *flags.split()]) == 0
    assert type(api.progress) is kind


def test_dump_phases_can_be_fed_back(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "a.csv", "--dump-phases"]) == 0
    Path("job.yaml").write_text("data: a.csv\n" + capsys.readouterr().out)
    assert main(["plan", "job.yaml"]) == 0
    assert [phase.name for phase in api.recipe.method.phases] == ["probe", "all"]


TEXTS = {
    "=cmd|' /C calc'!A0": True,
    "+1 800": True,
    "-2+3": True,
    "@SUM(A1)": True,
    "\t=1": True,
    "\r=1": True,
    "\n=1": True,
    "＝1": True,
    "-": True,
    "-1.5.2": True,
    "-1.5": False,
    "+3e-4": False,
    "a=b": False,
    " =1": False,
    "'=1": False,
    "": False,
}
"""What a prediction file holds, and whether a spreadsheet would run it."""


def test_a_table_of_predictions_runs_no_formulas(api: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {"origin": "=a.csv, line 2", "prediction": -1.5, "probabilities": {"=b": 0.5}, "labels": ["=c"]}
    rows = [{**same, "text": text} for text in TEXTS]
    monkeypatch.setattr(type(api.load("run")), "predict_all", lambda run, source, **_: (rows, ()))
    for name in ("out.csv", "out.jsonl"):
        assert main(["predict", "run", "new.csv", "--output", name]) == 0
    with open("out.csv", encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["text"] for row in written] == [f"'{text}" if bad else text for text, bad in TEXTS.items()]
    assert {row["origin"] for row in written} == {"'=a.csv, line 2"}
    assert {(row["prediction"], row["probabilities.=b"], row["labels"]) for row in written} == {
        ("-1.5", "0.5", '["=c"]')
    }
    lines = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert lines == rows


def test_help_says_what_happens_to_formulas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--help"]) == 0
    assert "formula" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_predictions_are_written_to_a_file(api: Stub, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "run", "new.csv", "--output", f"out.{suffix}"]) == 0
    text = Path(f"out.{suffix}").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines())) if suffix == "csv" else list(map(json.loads, text.splitlines()))
    assert len(rows) == 30
    assert rows[0]["origin"] == "new.csv, row 0"


def test_predict_shows_the_first_rows_and_says_how_many_more(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "run", "new.csv"]) == 0
    assert "10 more" in capsys.readouterr().out


def test_demo_fits_what_it_wrote(api: Stub) -> None:
    assert main(["demo", "images"]) == 0
    assert api.recipe.data.path == str(Path("runs/demo/digits"))
    assert len(list(Path("runs/demo/digits").glob("*/*.png"))) == 1797
    Path("runs/demo/images-1").mkdir()
    assert main(["demo", "images"]) == 0
    assert api.recipe.output.folder == str(Path("runs/demo/images-2"))
