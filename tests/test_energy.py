"""Meters: counters that are read twice, and start again."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfreeze import energy


def counter(folder: Path, used: int, most: int = 1_000_000_000) -> None:
    zone = folder / "intel-rapl:0"
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{used}\n")
    (zone / "max_energy_range_uj").write_text(f"{most}\n")
    part = folder / "intel-rapl:0:0"  # the cores, which the package includes
    part.mkdir(exist_ok=True)
    (part / "energy_uj").write_text("5000000\n")
    (part / "max_energy_range_uj").write_text(f"{most}\n")


@pytest.mark.parametrize(("before", "after", "joules"), [(1_000_000, 4_000_000, 3.0), (999_000_000, 1_000_000, 2.0)])
def test_energy_is_the_packages_growth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, joules: float
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", dict)
    counter(tmp_path, before)
    meter = energy.Meter()
    counter(tmp_path, after)
    read = meter.read()
    assert read["joules"] == {"processor": pytest.approx(joules), "gpu": None}
    assert read["seconds"] >= 0
    assert read["processor_seconds"] >= 0


def test_without_counters_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", dict)
    read = energy.Meter().read()
    assert read["joules"] == {"processor": None, "gpu": None}


def test_a_gpu_that_can_be_read_does_not_hide_a_processor_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", lambda: {"0": (100.0, 0.0)})
    meter = energy.Meter()
    monkeypatch.setattr(energy, "_gpus", lambda: {"0": (107.0, 0.0)})
    assert meter.read()["joules"] == {"processor": None, "gpu": 7.0}


def test_earlier_sessions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", dict)
    counter(tmp_path, 0)
    earlier = {
        "seconds": 1000.0, "learning_seconds": 500.0, "processor_seconds": 2000.0,
        "joules": {"processor": 50.0, "gpu": 9.0},
    }  # fmt: skip
    meter = energy.Meter(earlier)
    with meter.learning():
        assert meter.read()["learning_seconds"] >= 500.0, "also while it lasts"
    counter(tmp_path, 3_000_000)
    read = meter.read()
    assert read["seconds"] >= 1000.0
    assert meter.seconds >= read["seconds"]
    assert read["learning_seconds"] >= 500.0
    assert read["processor_seconds"] >= 2000.0
    assert read["joules"] == {"processor": pytest.approx(53.0), "gpu": None}, "the GPU was not read in this session"
