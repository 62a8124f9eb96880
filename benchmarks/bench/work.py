"""What a side is given to do, and what it tells back. Nothing here imports torch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.data import Splits
from bench.jobs import Job


@dataclass(frozen=True)
class Work:
    """One run of one side.

    Parameters
    ----------
    bf16 : bool
        Whether this machine multiplies so much faster in bfloat16 that a peer's best settings use it.
    place : Path
        The pre-trained model: a folder for texts, a file of weights for images, a finished run for predictions.
    folder : Path
        Empty, for whatever the side writes.
    """

    job: Job
    splits: Splits
    seed: int
    bf16: bool
    place: Path
    folder: Path
    side: str = "unfreeze"
    best: bool = False

    @property
    def labels(self) -> list[str]:
        """Classes in a fixed order."""
        return sorted({label for rows in self.splits.values() for _, label in rows})


@dataclass
class Told:
    """What a side did: the work that is compared, its figures, and times within its own clock.

    Parameters
    ----------
    rows : int
        Training rows it learned from (or texts it scored).
    epochs : float or None
        None where the side does not count in epochs (a solver that runs until it converges).
    trainable : int
        Parameters that learn at any time, without `extra`.
    extra : int
        Parameters of a head that the other side does not have, such as BERT's pooler.
    rates : tuple of float or None
        Highest rates of the pre-trained layers and of the head; None where that is not how it learns.
    report_seconds : float
        What a report took after the job was finished: it is told apart, since no other side makes one.
    left_out : list of str
        Kinds of evidence for which the report had no time.
    """

    rows: int = 0
    epochs: float | None = None
    batch: int | None = None
    trainable: int = 0
    extra: int = 0
    validation: float | None = None
    test: float | None = None
    train_seconds: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    rates: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)
    report_seconds: float = 0.0
    left_out: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Adds the seconds of a block to `parts`."""
        started = time.perf_counter()
        yield
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - started

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def share_equal(found: list[Any], true: list[Any]) -> float:
    """Accuracy."""
    return sum(bool(a == b) for a, b in zip(found, true, strict=True)) / len(true)
