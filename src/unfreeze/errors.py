"""Everything that unfreeze raises on purpose.

UnfreezeError
├── UserError            what the user said or gave cannot be used (also a ValueError)
│   ├── RecipeError      a recipe, flag or keyword; carries every problem at once
│   ├── DataError        the data
│   ├── ModelError       a model that is unknown, unreachable or unsuitable
│   ├── RunError         a run folder that exists, is missing, incomplete or unwritable
│   └── PreflightError   the first batches do not supervise what was asked for
├── TrainingError        a promise would be broken; the run stops
│   ├── FrozenMovedError     a frozen parameter or buffer changed
│   ├── DivergedError        loss or weights are no longer finite
│   ├── CheckpointError      no checkpoint can be read
│   └── ReloadError          a fresh process does not reproduce the predictions
├── OutOfMemory          not even one row at a time fits into memory
└── Interrupted          stopped by the user, resumable

Each class carries the exit code that the command line ends with.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class UnfreezeError(Exception):
    """Root of the tree."""

    exit_code = 1


class UserError(UnfreezeError, ValueError):
    """What the user said or gave cannot be used."""

    exit_code = 2


class RecipeError(UserError):
    """One or more problems in a recipe, all reported at once.

    Parameters
    ----------
    problems : sequence of str
        One line each: where, what was expected, what was found.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(UserError):
    """The data cannot be read or used."""


class ModelError(UserError):
    """A model is unknown, cannot be reached, or does not fit the task."""


class RunError(UserError):
    """A run folder exists already, is missing, incomplete or unwritable."""


class PreflightError(UserError):
    """The first batches do not supervise what was asked for."""


class TrainingError(UnfreezeError):
    """A promise would be broken, so the run stops."""


class FrozenMovedError(TrainingError):
    """A parameter or buffer below the frontier changed."""


class DivergedError(TrainingError):
    """Loss or weights are no longer finite."""


class CheckpointError(TrainingError):
    """No checkpoint of a run can be read."""


class ReloadError(TrainingError):
    """A fresh process does not reproduce the predictions of the trained model."""


class OutOfMemory(UnfreezeError):
    """Not even one row at a time fits into memory."""


class Interrupted(UnfreezeError):
    """Stopped by the user; the run can be resumed."""

    exit_code = 130


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends in one or in a question mark."""
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that helps to find the right name: the nearest one, or the list when it is short."""
    names = sorted(set(valid))
    lowered = {candidate.lower(): candidate for candidate in reversed(names)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.55)
    if close:
        return f"Did you mean '{lowered[close[0]]}'?"
    if not names:
        return "There are none."
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"Known: {shown}."
