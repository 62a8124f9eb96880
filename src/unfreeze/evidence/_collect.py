"""Collect every kind of evidence that applies to a run; one that fails is told, and costs no run."""

from __future__ import annotations

from collections.abc import Collection

from unfreeze.errors import UserError
from unfreeze.evidence import EVIDENCE
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence, NoTimeLeft
from unfreeze.train.files import finite, write_json

FAILURES = (UserError, RuntimeError, ValueError, ArithmeticError, LookupError, OSError, TypeError)

FOLDER, COLLECTED = "evidence", "collected.json"
NO_TIME = "no time was left for it"


def collect(context: Context, only: Collection[str] | None = None) -> dict[str, str]:
    """Collect evidence in its order and write it to RUN/evidence.

    Parameters
    ----------
    only : collection of str, optional
        Names of the kinds that are wanted; None: all that apply.

    Returns
    -------
    dict of str
        By name, why a kind of evidence is missing: it failed, or there was no time left.
    """
    context.job.progress.stage("collecting evidence")
    folder = context.folder / FOLDER
    folder.mkdir(exist_ok=True)
    missing: dict[str, str] = {}
    wanted = [(name, kind) for name, kind in EVIDENCE.items() if only is None or name in only]
    kinds = sorted(wanted, key=lambda item: (item[1].order, item[0]))
    for place, (name, kind) in enumerate(kinds):
        waiting = [other for _, other in kinds[place + 1 :] if other.costly or other.timed]
        context.share_among([_least(other, context) for other in (kind, *waiting)])
        context.at_work_on(name.replace("-", " "))
        try:
            if kind.costly and context.time_left() <= 0:
                raise NoTimeLeft
            found = kind.collect(context)
        except NoTimeLeft:
            if not (folder / f"{name}.json").exists():  # from an attempt that was interrupted
                missing[name] = NO_TIME
            continue
        except FAILURES as error:
            # The run itself is proven and saved: a failure here is said, and takes nothing away.
            missing[name] = f"it failed: {error}"
            continue
        if found is not None:
            context.found[name] = found
            write_json(folder / f"{name}.json", finite(found))
    return missing


def _least(kind: Evidence, context: Context) -> float:
    """What a kind needs, where time is short but there is some; one that cannot say it will fail by itself."""
    if not 0 < context.whole_time_left() < float("inf"):
        return 0.0
    try:
        return kind.least(context)
    except FAILURES:
        return 0.0
