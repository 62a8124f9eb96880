"""What is kept of a run's splits is what entered the head, also where the layers below it were played back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import fit_images, fit_text

from unfreeze import api
from unfreeze.evaluation import finish
from unfreeze.evaluation.kept import Kept
from unfreeze.evaluation.reading import fast, read
from unfreeze.models.head import Head
from unfreeze.train.job import Job


@pytest.mark.parametrize("method", ["head", "lp-ft"])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_features_and_outputs_of_every_row(
    kind: str, method: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Job, dict[str, Kept]]] = []
    whole = finish.evaluate_and_save

    def noted(job: Job, *rest: Any) -> Any:
        result, kept = whole(job, *rest)
        seen.append((job, kept))
        return result, kept

    monkeypatch.setattr(api, "evaluate_and_save", noted)
    (fit_text if kind == "text" else fit_images)(home, tmp_path / "run", method=method, epochs=6)
    job, kept = seen[0]
    assert set(kept) == {"validation", "test"}
    assert job.validation is not None
    working = fast(job.pretrained, "float32")
    head = next(module for module in working.module.modules() if isinstance(module, Head))
    for rows, outputs in read(job.pretrained, working, job.validation.examples.inputs, 16):
        found = kept["validation"]
        torch.testing.assert_close(found.outputs[rows], outputs, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(head(found.features[rows]), outputs, rtol=1e-4, atol=1e-5)
        assert found.features[rows].abs().sum() > 0
