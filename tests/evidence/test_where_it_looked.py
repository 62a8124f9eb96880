"""The evidence of where the network looked: which rows, pictures that are pictures, and words with planted effects."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from PIL import Image
from small import fit_images, fit_text
from torch import Tensor

from unfreeze.evidence import attention
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import NoTimeLeft


@pytest.fixture(scope="module")
def texts(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Context]:
    with only("mistakes", "attention") as contexts:
        run = fit_text(home, tmp_path_factory.mktemp("told") / "run", method="full", epochs=2, **ASKED)
    return run.evidence["attention"], contexts[0]


@pytest.fixture(scope="module")
def images(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Context]:
    with only("mistakes", "attention") as contexts:
        run = fit_images(home, tmp_path_factory.mktemp("told") / "run", method="last:2", epochs=2, **ASKED)
    return run.evidence["attention"], contexts[0]


def test_the_worst_mistakes_come_first_and_others_beside_them(texts: tuple[dict[str, Any], Context]) -> None:
    found, context = texts
    worst = [example["origin"] for example in context.found["mistakes"]["examples"]][: attention.MISTAKES]
    assert worst, "a model of two epochs makes mistakes"
    shown = found["examples"]
    assert [example["origin"] for example in shown[: len(worst)]] == worst
    assert [example["mistake"] for example in shown] == [True] * len(worst) + [False] * (len(shown) - len(worst))
    assert len({example["origin"] for example in shown}) == len(shown) == attention.SHOWN
    told = {
        row["origin"]: row for row in map(json.loads, (context.folder / "predictions.jsonl").read_text().splitlines())
    }
    for example in shown:
        assert example["prediction"] == told[example["origin"]]["prediction"]
        assert example["target"] == told[example["origin"]]["target"]


def test_pieces_add_up_to_the_text(texts: tuple[dict[str, Any], Context]) -> None:
    found, context = texts
    by_origin = dict(zip(context.feeds["test"].examples.origin, context.feeds["test"].examples.inputs, strict=True))
    for example in found["examples"]:
        assert ["".join(piece for piece, _ in text) for text in example["texts"]] == [by_origin[example["origin"]]]
        assert example["cut"] is False


def test_effects_are_what_the_score_falls_by(texts: tuple[dict[str, Any], Context]) -> None:
    found, context = texts
    module, preprocess = context.pretrained.module, context.pretrained.preprocess
    example = found["examples"][0]
    label = context.manifest.labels.index(example["prediction"])
    text = "".join(piece for piece, _ in example["texts"][0])

    def score(words: str) -> float:
        with torch.no_grad():
            return float(module(**preprocess.collate([preprocess.encode(words)])).log_softmax(dim=1)[0, label])

    piece, effect = example["texts"][0][0]
    assert effect == pytest.approx(score(text) - score(text[len(piece.rstrip()) :]), abs=2e-4)
    assert any(effect for _, effect in example["texts"][0])


def test_a_word_that_decides_by_construction(
    texts: tuple[dict[str, Any], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that sees whether "sun" is there and nothing else."""
    _, context = texts

    def outputs_of(_: Any, __: Any, items: Sequence[str], batch_size: int) -> Tensor:
        return torch.tensor([[0.0, 0.0, 9.0 * ("sun" in item.split())] for item in items])

    monkeypatch.setattr(attention, "outputs_of", outputs_of)
    found = attention._effects(context, context.working, ["a sun is good", " sun is good", "a is good"], 2)
    assert found.tolist() == [0.0, pytest.approx(9.0 - np.log(2 + np.exp(9.0)) + np.log(3))]


def test_gaps_and_what_was_not_looked_at() -> None:
    spans = [(1, 4, 0.5), (6, 9, -0.123456)]
    assert attention._with_gaps(" abc  def ghi", spans) == [["abc  ", 0.5], ["def", -0.12346]]
    assert attention._with_gaps("  ", []) == []


def test_pictures_are_small_and_show_both(images: tuple[dict[str, Any], Context]) -> None:
    found, context = images
    assert found["method"] == "hirescam"
    assert found["layer"] in context.stack.names
    assert found["randomised"][0] == found["layer"]
    assert found["randomised"][-1] == context.stack.names[-1]
    assert np.prod(found["grid"]) >= 9
    for example in found["examples"]:
        data = base64.b64decode(example["picture"])
        assert len(data) < 12_000
        with Image.open(io.BytesIO(data)) as shown:
            assert shown.format == "JPEG"
            assert shown.size == (2 * attention.SIDE + 6, attention.SIDE)


def test_the_light_of_a_map_lies_where_its_values_are() -> None:
    pixels = np.full((3, 32, 32), 128, dtype=np.uint8)
    places = np.zeros((4, 4))
    places[0, 3] = 2.0
    data = base64.b64decode(attention.under_its_map(pixels, places))
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=float)
    plain, under = shown[:, : attention.SIDE], shown[:, -attention.SIDE :]
    assert np.ptp(plain) < 3
    assert under[5:15, -15:-5].mean() > under[-40:, :40].mean() + 40
    flat = attention.under_its_map(np.zeros((1, 20, 20), dtype=np.uint8), np.zeros((3, 3)))
    assert base64.b64decode(flat)[:3] == b"\xff\xd8\xff"


def test_the_check_has_an_interval(texts: tuple[dict[str, Any], Context]) -> None:
    check = texts[0]["check"]
    assert -1 <= check["low"] <= check["value"] <= check["high"] <= 1
    assert 2 <= check["rows"] <= attention.SHOWN
    assert texts[0]["randomised"] == ["block 2", "head"]


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_the_model_is_left_as_it_was(kind: str, request: pytest.FixtureRequest) -> None:
    _, context = request.getfixturevalue(kind)
    module = context.pretrained.module
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [child.training for child in module.modules()]
    assert attention.collect(context) is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert [child.training for child in module.modules()] == modes
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_where_time_is_up_nothing_is_begun(
    texts: tuple[dict[str, Any], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts[1], "seconds", 0.0)
    with pytest.raises(NoTimeLeft):
        attention.collect(texts[1])


def test_where_time_is_up_meanwhile_two_rows_are_looked_at(
    texts: tuple[dict[str, Any], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts[1], "seconds", 0.0)
    monkeypatch.setattr(attention, "PASSES", {"image": 0, "text": 0})
    found = attention.collect(texts[1])
    assert found is not None
    assert len(found["examples"]) == attention.AT_LEAST
