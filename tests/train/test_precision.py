"""The arithmetic of a machine: measured once, kept, and measured again where what was kept is no use."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

from unfreeze.stack.shelf import cache_folder
from unfreeze.train import precision
from unfreeze.train.precision import KEPT, bf16_gain, choose_precision


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What is measured in turn: gains of 3, 4, 5 …"""
    gains: list[float] = []
    monkeypatch.setattr(precision, "_measured", lambda: gains.append(3.0 + len(gains)) or gains[-1])
    bf16_gain.cache_clear()
    yield gains
    bf16_gain.cache_clear()


def test_a_machine_is_measured_once(measured: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert bf16_gain() == 3.0
    bf16_gain.cache_clear()  # as a later process
    assert bf16_gain() == 3.0
    monkeypatch.setattr(precision, "_processor", lambda: "another one")
    bf16_gain.cache_clear()
    assert bf16_gain() == 4.0
    assert sorted(json.loads((cache_folder() / KEPT).read_text()).values()) == [3.0, 4.0]
    assert measured == [3.0, 4.0]


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1', "null"])
def test_a_damaged_file_is_measured_over(content: str) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / KEPT).write_text(content)
    assert bf16_gain() == 3.0
    bf16_gain.cache_clear()
    assert bf16_gain() == 3.0


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    cache_folder().write_text("a file in the way")
    assert bf16_gain() == 3.0


@pytest.mark.parametrize(("gain", "chosen"), [(1.2, "float32"), (2.5, "bf16")])
def test_bfloat16_has_to_be_worth_its_rounding(monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str) -> None:
    monkeypatch.setattr(precision, "_measured", lambda: gain)
    found, reason = choose_precision(torch.device("cpu"))
    assert found == chosen
    assert f"{gain:.1f} times" in reason
