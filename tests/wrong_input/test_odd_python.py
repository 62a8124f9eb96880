"""Wrong and odd things passed in Python: one clear exception of the tree, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from odd_things import LABELS, photos, picture, rows, table
from PIL import Image

import unfreeze
from unfreeze import errors

R = rows()
SHORT: dict[str, Any] = {"method": "head", "epochs": 1, "batch_size": 8, "gate": "inline", "bootstrap": 0}
FRAME = pd.DataFrame(R, columns=["text", "label"])


def fit(things: dict[str, Path], data: Any, **options: Any) -> unfreeze.Run:
    return unfreeze.fit(data, str(things["text"]), **{**SHORT, **options})


REFUSED: list[tuple[str, Callable[[dict[str, Path]], Any], type[Exception], str]] = [
    ("no data", lambda t: fit(t, None), errors.DataError, "No data"),
    ("an empty list", lambda t: fit(t, []), errors.DataError, "has no rows"),
    ("an empty frame", lambda t: fit(t, FRAME[:0]), errors.DataError, "has no rows"),
    ("a number", lambda t: fit(t, 42), errors.DataError, "The int given is of no known kind"),
    ("bytes", lambda t: fit(t, b"text"), errors.DataError, "The bytes given is of no known kind"),
    ("triples", lambda t: fit(t, [("a", "b", "c")] * 9), errors.DataError, r"list of \(input, label\) pairs.*item 1"),
    ("a mixture", lambda t: fit(t, [*R, "text alone"]), errors.DataError, "pairs or of dicts; item 1"),
    ("columns of unequal length", lambda t: fit(t, {"text": ["a"], "label": []}), errors.DataError, "equal lengths"),
    ("an unknown option", lambda t: fit(t, R, epoch=3), errors.RecipeError, "Did you mean 'epochs'"),
    ("two unknown options", lambda t: fit(t, R, epoch=3, modle="x"), errors.RecipeError, "(?s)'epoch'.*'modle'"),
    ("a wrong type", lambda t: fit(t, R, epochs="many"), errors.RecipeError, "must be a number.*Got 'many'"),
    ("not a number", lambda t: fit(t, R, lr=float("nan")), errors.RecipeError, "training.lr must be"),
    ("a missing column", lambda t: fit(t, FRAME, target="lable"), errors.DataError, "Did you mean 'label'"),
    ("a target without values", lambda t: fit(t, [(x, None) for x, _ in R]), errors.DataError, "empty in every row"),
    ("sets of data without training", lambda t: fit(t, {"test": R}), errors.DataError, "no training row"),
    ("an array that is no image", lambda t: fit(t, [(np.zeros((2, 2, 7)), "a")] * 9), errors.DataError, "is no image"),
    ("an unknown model", lambda t: unfreeze.fit(R, "bert-bsae", **SHORT), errors.ModelError, "cannot be loaded"),
    ("a place that is not there", lambda t: fit(t, Path("a.csv")), errors.DataError, "no file or folder 'a.csv'"),
    ("an occupied output", lambda t: fit(t, R, output=str(t["run"])), errors.RunError, "is not empty"),
    ("no run", lambda t: unfreeze.load("nowhere"), errors.RunError, "no run 'nowhere'"),
    ("predicting for nothing", lambda t: unfreeze.load(t["run"]).predict([]), errors.DataError, "has no rows"),
    ("predicting for a bare text", lambda t: unfreeze.load(t["run"]).predict("so good"), errors.DataError, "as a list"),
    ("predicting for an image", lambda t: unfreeze.load(t["run"]).predict([picture(1)]), errors.DataError,
         "reads texts"),
    ("predicting for numbers in columns", lambda t: unfreeze.load(t["run"]).predict({"a": [1], "b": [2]}),
     errors.DataError, "no column 'text'"),
    ("evaluating without labels", lambda t: unfreeze.load(t["run"]).evaluate(["so good"]), errors.DataError, "'label'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_one_clear_exception(
    call: Callable[[dict[str, Path]], Any], kind: type[Exception], said: str, things: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said) as caught:
        call(things)
    assert isinstance(caught.value, ValueError), "what users did is a ValueError too"
    assert len(str(caught.value)) < 600
    assert list(tmp_path.iterdir()) == [], "something half made was left behind"


def index_that_starts_elsewhere() -> pd.DataFrame:
    return FRAME.set_index(pd.Index(range(100, 100 + len(FRAME))))


ODD: list[tuple[str, Callable[[], Any]]] = [
    ("a generator", lambda: ((text, label) for text, label in R)),
    ("labels that are numbers", lambda: [(text, i % 2) for i, (text, _) in enumerate(R)]),
    ("labels that are booleans", lambda: [(text, i % 2 == 0) for i, (text, _) in enumerate(R)]),
    ("labels that are numpy's", lambda: [(text, np.int64(i % 2)) for i, (text, _) in enumerate(R)]),
    ("a frame with another index", index_that_starts_elsewhere),
    ("a frame of categories", lambda: FRAME.astype({"label": "category"})),
    ("a frame with missing labels", lambda: pd.concat([FRAME, pd.DataFrame({"text": ["x"], "label": [pd.NA]})])),
    ("column names that are numbers", lambda: FRAME.rename(columns={"text": 0, "label": 1})),
    ("halves of characters", lambda: [(f"{text} \ud83d", f"{label}\ud83d") for text, label in R]),
    ("huge numbers as texts", lambda: [(10**400 + i, LABELS[i % 2]) for i in range(24)]),
    ("dicts that lack keys", lambda: [{"text": text, "label": label} for text, label in R] + [{"text": "alone"}]),
    ("a dict of splits", lambda: {"train": R[:16], "validation": R[16:20], "test": R[20:]}),
]


@pytest.mark.parametrize("make", [row[1] for row in ODD], ids=[row[0] for row in ODD])
def test_odd_objects_are_used(make: Callable[[], Any], things: dict[str, Path]) -> None:
    options = {"text": "0", "target": "1"} if "0" in map(str, getattr(make(), "columns", ())) else {}
    run = fit(things, make(), **options)
    assert run.status == "finished"
    assert len(run.predict([text for text, _ in R])) == len(R)


def test_images_in_memory(things: dict[str, Path]) -> None:
    data: list[tuple[Any, str]] = [(picture(i), LABELS[i % 2]) for i in range(20)]
    data[3] = (np.asarray(data[3][0]), data[3][1])
    data[4] = (Image.new("RGBA", (5, 9), (1, 2, 3, 0)), data[4][1])
    run = unfreeze.fit(data, str(things["image"]), **SHORT)
    assert [row["prediction"] in LABELS for row in run.predict([picture(1), np.zeros((8, 8), np.uint8)])] == [
        True,
        True,
    ]


def test_rows_without_a_prediction_are_told(things: dict[str, Path]) -> None:
    photos("photos", classes=["cat"], each=2)()
    Path("photos/cat/0.png").write_bytes(b"broken")
    rows_, left_out = unfreeze.load(things["image_run"]).predict_all("photos")
    assert [row["origin"] for row in rows_] == ["cat/1.png"]
    assert [row.origin for row in left_out] == ["cat/0.png"]


def test_what_is_given_is_not_changed(things: dict[str, Path]) -> None:
    frame, before = FRAME.copy(), FRAME.copy(deep=True)
    run = fit(things, frame)
    pd.testing.assert_frame_equal(frame, before)
    with pytest.raises(errors.RunError, match="a file is in the way"):
        fit(things, frame, output=str(run.path / "result.json"))
    assert run.status == "finished"


def test_a_failed_start_leaves_no_folder(things: dict[str, Path], tmp_path: Path) -> None:
    table()()
    with pytest.raises(errors.RecipeError, match="must be between 1 and 5"):
        fit(things, "a.csv", method="last:9", output="out/run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_one_metric_ranks_all_runs(things: dict[str, Path]) -> None:
    other = fit(things, R, metric="nll", output="other")
    table_ = unfreeze.compare([things["run"], other.path])
    assert {row["metric"] for row in table_} == {"accuracy"}
    scores = [row["test"]["accuracy"]["value"] for row in table_]
    assert scores == sorted(scores, reverse=True)
    assert {row["metric"] for row in unfreeze.compare([other.path, things["run"]])} == {"nll"}


def test_runs_with_other_labels_are_not_compared(things: dict[str, Path]) -> None:
    three = [(text, ("good", "bad", "meh")[i % 3]) for i, (text, _) in enumerate(rows(36))]
    other = fit(things, three, output="other").path
    with pytest.raises(errors.RunError, match=r"different labels: only 'other' knows 'meh'\. Their figures do not"):
        unfreeze.compare([things["run"], other])
    many = fit(things, [(f"{text} so", f"label {i % 8}") for i, (text, _) in enumerate(rows(48))], output="many").path
    said = rf"only 'other' knows 'bad', 'good', 'meh'; only '{many}' knows 'label 0', .* 'label 4' and 3 more\."
    with pytest.raises(errors.RunError, match=said):
        unfreeze.compare([other, other, many])


def test_runs_on_other_test_rows_are_told_apart(things: dict[str, Path]) -> None:
    other = fit(things, [(f"{text} indeed", label) for text, label in rows(36)], output="other").path
    assert [row["same_test"] for row in unfreeze.compare([things["run"], other])] == [False, False]
