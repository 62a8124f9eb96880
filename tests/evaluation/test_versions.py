"""The versions that a run tells of are those that are installed."""

from __future__ import annotations

import platform

import numpy
import torch

import unfreeze
from unfreeze.evaluation import versions


def test_versions_are_those_that_run() -> None:
    found = versions.versions()
    assert found["Python"] == platform.python_version()
    assert found["unfreeze"] == unfreeze.__version__
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["numpy"] == numpy.__version__


def test_absent_packages_are_left_out(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(versions, "PACKAGES", ("torch", "no-such-package"))
    assert "no-such-package" not in versions.versions()
