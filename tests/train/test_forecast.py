"""What a forecast counts: the largest pass, whatever else is in its batch, and what tells about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import sentences

import unfreeze
from unfreeze.train.forecast import KEPT, LIBRARIES, Moment


def moments(home: Path, data: Any, **options: Any) -> dict[str, Moment]:
    options = {"method": "full", "batch_size": 8, "epochs": 1, "precision": "float32", **options}
    made = unfreeze.plan({"train": data, "validation": data[:8]}, str(home / "bert"), **options)
    assert made.forecast is not None
    return {"an update" if moment.learns else moment.name: moment for moment in made.forecast.moments}


@pytest.mark.parametrize(("method", "less"), [("full", True), ("head", False)])
def test_one_long_text_does_not_make_a_whole_batch_long(home: Path, method: str, less: bool) -> None:
    rows = [(text, label) for text, label in sentences(44)]
    rows[0] = (" ".join(text for text, _ in sentences(30, seed=1)), rows[0][1])
    apart, together = (
        moments(home, rows, method=method, batch_size=32, replay=False, fast_kernels=fast)["an update"].parts[
            "activations"
        ]
        for fast in (True, False)
    )
    assert (apart < 0.8 * together) == less


def test_evidence_is_a_moment_of_its_own_where_there_is_a_report(home: Path) -> None:
    rows = sentences(44)
    told = moments(home, rows)["collecting evidence"]
    assert told.parts["libraries"] == LIBRARIES
    assert told.parts["model before"] >= told.parts["weights"]
    assert "collecting evidence" not in moments(home, rows, evaluation__report=False)


def test_what_the_allocator_keeps_is_counted_unless_it_is_returned(home: Path) -> None:
    kept = moments(home, sentences(44))["an update"].parts
    tensors = sum(size for part, size in kept.items() if part not in ("process", "kept by the allocator"))
    assert kept["kept by the allocator"] == int(KEPT * tensors)
    returned = moments(home, sentences(44), return_memory=True)["an update"].parts
    assert "kept by the allocator" not in returned
