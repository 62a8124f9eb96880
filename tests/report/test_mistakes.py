"""The worst mistakes are the surest wrong answers, shown with what the model read."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from made import classes, context, numbers, several
from PIL import Image

from unfreeze.data.manifest import ImageRef
from unfreeze.evidence.mistakes import OF_A_KIND, SHOWN, SIDE, collect, shown_input, thumbnail


def test_surest_wrong_answer_comes_first() -> None:
    outputs = torch.tensor([[5.0, 0.0], [9.0, 0.0], [3.0, 0.0], [0.0, 8.0]])
    made = context("classification", ["a", "b"], outputs, torch.tensor([0, 1, 1, 1]))
    found = collect(made)
    assert found is not None
    assert [each["text"] for each in found["examples"]] == ["text 1", "text 2"]
    first = found["examples"][0]
    assert (first["prediction"], first["target"], first["origin"]) == ("a", "b", "test.csv, line 3")
    assert first["probability"] == pytest.approx(1 - first["probability_of_target"], abs=1e-6)
    assert found["wrong"] == 2
    assert (found["sure_in_all"], found["sure_and_wrong"]) == (4, 2)


def test_one_confusion_does_not_fill_the_page() -> None:
    targets = torch.tensor([0] * 40 + [1] * 3)
    outputs = torch.zeros(43, 3)
    outputs[:40, 1] = torch.linspace(9, 5, 40)
    outputs[40:, 2] = 1.0
    found = collect(context("classification", list("abc"), outputs, targets))
    assert found is not None
    given = [each["prediction"] for each in found["examples"]]
    assert given == ["b"] * OF_A_KIND + ["c"] * 3


def test_several_labels_are_told_as_missed_and_added() -> None:
    outputs = torch.tensor([[4.0, -4.0, -4.0], [-6.0, 5.0, -4.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = collect(context("multilabel", list("abc"), outputs, targets))
    assert found is not None
    (only,) = found["examples"]
    assert [label for label, _ in only["missed"]] == ["a"]
    assert [label for label, _ in only["added"]] == ["b"]
    assert only["missed"][0][1] == pytest.approx(1 / (1 + np.exp(6)), rel=1e-4)
    assert found["wrong"] == 1


def test_largest_error_comes_first() -> None:
    outputs = torch.tensor([[0.0], [3.0], [-1.0]])
    made = context("regression", (), outputs, torch.zeros(3), target_mean=100.0, target_scale=10.0)
    found = collect(made)
    assert found is not None
    assert [(each["prediction"], each["error"], each["target"]) for each in found["examples"]] == [
        (130.0, 30.0, 100.0),
        (90.0, -10.0, 100.0),
    ]


@pytest.mark.parametrize("make", [classes, several, numbers])
def test_at_most_some(make) -> None:  # type: ignore[no-untyped-def]
    found = collect(make(rows=3000))
    assert found is not None
    assert 0 < len(found["examples"]) <= SHOWN
    assert all("row" not in each for each in found["examples"])


def test_none_is_wrong() -> None:
    found = collect(context("classification", ["a", "b"], torch.eye(2), torch.tensor([0, 1])))
    assert found is not None
    assert found["examples"] == []


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (32, 32), (80, 20), (500, 300), (20, 4000)])
def test_pictures_are_small_files(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    data = base64.b64decode(thumbnail(Image.fromarray(pixels).convert(mode)))
    small = Image.open(io.BytesIO(data))
    small.load()
    assert max(small.size) <= SIDE
    assert len(data) < 40_000
    assert small.format == ("PNG" if max(size) <= SIDE // 2 else "JPEG")
    if small.format == "PNG":
        assert small.size == size


def test_inputs_of_each_kind(tmp_path: Path) -> None:
    assert shown_input("text", 10**6) == {"text": "text"}
    assert shown_input(("one", "two"), 10**6) == {"text": "one", "pair": "two"}
    assert len(shown_input("long " * 5000, 10**6)["text"]) < 1000
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    assert "cannot be" in shown_input(ImageRef(tmp_path / "broken.png"), 10**6)["unreadable"]


def test_a_picture_says_what_was_given_and_what_is_true() -> None:
    from unfreeze.report.sections.mistakes import shown_input as shown

    encoded = thumbnail(Image.new("RGB", (4, 4)))
    about = {"image": encoded, "origin": "a.png"}
    cases = {
        "the picture a.png, given &lt;b&gt;, true cat": {"prediction": "<b>", "target": "cat"},
        "the picture a.png, given 3.000, true 2.500": {"prediction": 3.0, "target": 2.5, "error": 0.5},
        "the picture a.png, missed cat, wrongly given dog": {"missed": [["cat", 0.1]], "added": [["dog", 0.9]]},
        "the picture a.png, given cat, suggested dog": {"given": "cat", "suggested": "dog"},
    }
    for alt, example in cases.items():
        assert f'alt="{alt}"' in shown({**about, **example})[0]
